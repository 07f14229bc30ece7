"""A generated data set has SIIM-ACR's layout and quirks, and is the same however it is written."""

import csv
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.rle import decode_rle
from chestseg.dicom.radiograph import read_radiograph
from chestseg.phantoms.radiograph.siim import component_rows, write_case, write_siim

COUNT, SEED, SIZE = 30, 6, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "siim"
    write_siim(folder, COUNT, SEED, SIZE)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> dict[str, list[str]]:
    rows = defaultdict(list)
    with open(folder / "train-rle.csv", newline="") as file:
        reader = csv.reader(file)
        assert next(reader) == ["ImageId", " EncodedPixels"]
        for sop, code in reader:
            assert code.startswith(" ")
            rows[sop].append(code)
    return rows


def test_files_lie_as_in_the_published_tree(folder: Path):
    train = sorted((folder / "dicom-images-train").rglob("*.dcm"))
    assert len(train) == COUNT
    for path in train:
        radiograph = read_radiograph(path)
        assert path.relative_to(folder).parts[1:] == (radiograph.study_uid, radiograph.series_uid, f"{radiograph.sop_uid}.dcm")
        assert radiograph.pixels.shape == (SIZE, SIZE)
        assert radiograph.view in ("AP", "PA")


def test_uids_are_valid_and_each_but_once(folder: Path):
    radiographs = [read_radiograph(path) for path in folder.rglob("*.dcm")]
    uids = [uid for r in radiographs for uid in (r.study_uid, r.series_uid, r.sop_uid)]
    assert len(set(uids)) == 3 * len(radiographs)
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid or "") for uid in uids)


def test_few_files_have_no_row_and_no_row_lacks_its_file(folder: Path, table: dict[str, list[str]]):
    files = {path.stem for path in (folder / "dicom-images-train").rglob("*.dcm")}
    assert set(table) < files
    assert len(files) - len(table) == 1


def test_about_half_are_positive_and_some_masks_take_several_rows(table: dict[str, list[str]]):
    positive = [rows for rows in table.values() if rows != [" -1"]]
    assert abs(len(positive) - len(table) / 2) < 2
    assert any(len(rows) > 1 for rows in positive)
    assert all(decode_rle(rows, (SIZE, SIZE)).any() for rows in positive)


def test_patients_have_one_to_three_pictures(folder: Path):
    patients = defaultdict(list)
    for path in (folder / "dicom-images-train").rglob("*.dcm"):
        radiograph = read_radiograph(path)
        patients[radiograph.patient_id].append((radiograph.sex, radiograph.age))
    assert {len(pictures) for pictures in patients.values()} == {1, 2, 3}
    assert all(len(set(pictures)) == 1 for pictures in patients.values())


def test_test_files_are_anonymous_and_not_in_the_table(folder: Path, table: dict[str, list[str]]):
    files = sorted((folder / "dicom-images-test").glob("*.dcm"))
    assert len(files) == COUNT // 10
    assert not {path.stem for path in files} & set(table)
    assert {read_radiograph(path).patient_id for path in files} == {""}


def test_writing_again_gives_the_same_bytes(folder: Path, tmp_path: Path):
    seen = []
    write_siim(tmp_path / "again", 6, SEED, SIZE, progress=lambda done, of: seen.append((done, of)), processes=2)
    written = list((tmp_path / "again" / "dicom-images-train").rglob("*.dcm"))
    assert len(written) == 6
    for path in written:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "again")).read_bytes()
    assert seen[0] == (1, 7)
    assert seen[-1] == (7, 7)


def test_a_case_written_alone_is_the_one_of_the_whole(folder: Path, table: dict[str, list[str]], tmp_path: Path):
    for i in (5, 17):
        sop, rows = write_case(tmp_path, SEED, i, SIZE)
        (path,) = tmp_path.rglob(f"{sop}.dcm")
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
        assert [f" {row}" for row in rows] == table[sop]


def test_every_part_of_a_mask_has_its_row():
    mask = np.zeros((8, 8), np.uint8)
    mask[1:3, 1:3] = mask[5:7, 4:8] = 1
    rows = component_rows(mask)
    assert len(rows) == 2
    assert np.array_equal(decode_rle(rows, (8, 8)), mask)
    assert component_rows(np.zeros((8, 8), np.uint8)) == ["-1"]


def test_a_data_set_is_replaced_and_nothing_else(folder: Path, tmp_path: Path):
    target = tmp_path / "set"
    write_siim(target, 2, 1, SIZE)
    write_siim(target, 1, 2, SIZE)
    assert len(list((target / "dicom-images-train").rglob("*.dcm"))) == 1
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="notes.txt.*name another folder"):
        write_siim(target, 1, 2, SIZE)
    assert (target / "notes.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1, SIZE), "count 0"), ((1, 1, 8), "size 8"), ((1, 1, SIZE, 1.5), "positive_share 1.5")],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        write_siim(tmp_path / "set", *arguments)
    assert not (tmp_path / "set").exists()
