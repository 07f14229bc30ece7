"""A generated data set has RICORD-1A's layout and quirks, and its reader finds the masks that were drawn."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from chestseg.config import Source
from chestseg.config.data import VolumeData
from chestseg.data.ricord import list_ricord
from chestseg.data.ricord_annotations import fill
from chestseg.phantoms.ct.files import ct_uids, is_positive, phantom_seed
from chestseg.phantoms.ct.make import make_ct_phantom
from chestseg.phantoms.ct.ricord import ANNOTATIONS, TREE, outlines, write_ricord

COUNT, SEED = 9, 3
SHAPE, SPACING = (10, 36, 36), (9.0, 9.0, 9.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "ricord"
    write_ricord(folder, COUNT, SEED, SHAPE, SPACING)
    return folder


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict]:
    export = json.loads((folder / ANNOTATIONS).read_text())
    return [row for dataset in export["datasets"] for row in dataset["annotations"]]


def filled(mask: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), contours, -1, 1, cv2.FILLED)


def test_the_reader_finds_the_masks_that_were_drawn(folder: Path):
    source = Source(reader="ricord", path=str(folder))
    listing = list_ricord(source)
    data = VolumeData(sources=(source,), prepared=str(folder / "prepared"), spacings=(SPACING,))
    by_series = {ct_uids(phantom_seed(SEED, i), "axial")[1]: i for i in range(COUNT)}
    for case in listing.cases:
        i = by_series[case.case_id]
        phantom = make_ct_phantom(phantom_seed(SEED, i), SHAPE, SPACING, is_positive(SEED, i, 0.75))
        read = case.read(data)
        assert np.array_equal(read.volume.values, phantom.volume.values)
        assert np.array_equal(read.mask, np.stack([filled(plane) for plane in phantom.mask]))
    annotated = [is_positive(SEED, i, 0.75) for i in range(COUNT - 1)]
    assert len(listing.cases) == sum(annotated)


def test_what_is_no_case_is_left_out_for_its_reason(folder: Path):
    reasons = Counter(one.reason for one in list_ricord(Source(reader="ricord", path=str(folder))).left_out)
    assert reasons["coronal series, only axial ones are read"] == COUNT // 2
    assert reasons["no annotation of its study"] == 1
    assert sum(reasons.values()) == COUNT + COUNT // 2 + 1 + sum(not is_positive(SEED, i, 0.75) for i in range(COUNT - 1))


def test_the_tree_is_that_of_the_archive(folder: Path):
    files = sorted((folder / TREE).rglob("*.dcm"))
    assert len(files) == COUNT * (SHAPE[0] + 1) + COUNT // 2 * SHAPE[1]
    assert all(len(path.relative_to(folder / TREE).parts) == 4 for path in files)


def test_the_export_has_its_quirks(rows: list[dict]):
    of_exam = [row for row in rows if row["SeriesInstanceUID"] is None]
    drawn = [row for row in rows if row["SeriesInstanceUID"]]
    assert all(row["data"] is None and row["SOPInstanceUID"] is None for row in of_exam)
    assert any(row["data"] is None for row in drawn)
    assert len({row["labelId"] for row in drawn}) == 2
    assert len({row["createdById"] for row in drawn}) == 3
    by_study = {row["StudyInstanceUID"]: set() for row in drawn}
    for row in drawn:
        by_study[row["StudyInstanceUID"]].add(row["createdById"])
    assert len({len(readers) for readers in by_study.values()}) > 1
    order = [row["SOPInstanceUID"] for row in drawn]
    assert order != sorted(order)


def test_outlines_enclose_exactly_the_pixels_of_a_mask():
    mask = (np.random.default_rng(0).random((24, 30)) < 0.4).astype(np.uint8)
    drawn = np.zeros(mask.shape, bool)
    for line in outlines(mask):
        drawn |= fill(np.array(line), (24, 30))
    assert np.array_equal(drawn, filled(mask) > 0)
    assert outlines(np.zeros((4, 4), np.uint8)) == []


def test_writing_again_gives_the_same_bytes(folder: Path, tmp_path: Path):
    write_ricord(tmp_path / "again", 1, SEED, SHAPE, SPACING)
    files = list((tmp_path / "again" / TREE).rglob("*.dcm"))
    assert len(files) == SHAPE[0] + 1
    assert all(path.read_bytes() == (folder / path.relative_to(tmp_path / "again")).read_bytes() for path in files)
