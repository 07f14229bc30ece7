"""SIIM-ACR's layout: which files are cases, what is left out, and what stops the listing."""

import csv
import gzip
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Source
from chestseg.data.siim import NO_FILE, UNLABELLED, list_siim

TABLE = "1.2.3.1, -1\n1.2.3.2, 0 5 27 5\n1.2.3.2, 100 8\n1.2.3.3,-1\n1.2.3.9, -1\n"


def listed(folder: Path, **settings: str):
    return list_siim(Source(reader="siim", path=str(folder), **settings))


def test_files_and_rows_are_joined_by_name(siim):
    listing = listed(siim(TABLE))
    assert [(case.case_id, case.rle, case.negative) for case in listing.cases] == [
        ("1.2.3.1", None, True),
        ("1.2.3.2", ("0 5 27 5", "100 8"), False),
        ("1.2.3.3", None, True),
    ]
    assert all(case.sop_uid == case.case_id == Path(case.image).stem and case.labelled for case in listing.cases)
    assert [(one.case_id, one.reason) for one in listing.left_out] == [
        ("1.2.3.4", UNLABELLED),
        ("1.2.3.5", UNLABELLED),
        ("1.2.3.9", NO_FILE),
    ]


def test_the_mask_is_the_union_of_its_rows_down_the_columns(siim):
    case = listed(siim(TABLE)).cases[1].read()
    expected = np.zeros((32, 32), np.uint8)
    expected[:5, :2] = 1
    expected[4:12, 3] = 1
    assert np.array_equal(case.mask, expected)
    assert (case.pixels == ord("2")).all()


def test_both_trees_are_searched_and_a_source_has_its_folders_name_or_its_own(siim):
    siim(None, "4", tree="dicom-images-test")
    siim(None, "5", tree="stage_2_images")
    folder = siim(TABLE, "123")
    assert {one.source for one in [*listed(folder).cases, *listed(folder).left_out]} == {"archive"}
    assert {case.source for case in listed(folder, name="acr").cases} == {"acr"}
    assert sorted(one.case_id for one in listed(folder).left_out) == ["1.2.3.4", "1.2.3.5", "1.2.3.9"]


def test_no_file_is_read_but_one_header_for_the_size_of_the_images(siim):
    folder = siim(TABLE)
    for path in folder.rglob("*.dcm"):
        if path.stem != "1.2.3.2":
            path.write_bytes(b"")
    listing = listed(folder)
    assert len(listing.cases) == 3
    assert listing.cases[1].rle_shape == (32, 32)


def test_where_no_file_says_its_size_it_is_the_published_one(siim):
    folder = siim(TABLE)
    next(folder.rglob("1.2.3.2.dcm")).write_bytes(b"")
    assert listed(folder).cases[1].rle_shape == (1024, 1024)


@pytest.mark.parametrize(
    ("table", "finding"),
    [
        ("1.2.3.2, 1000 30\n", r"train-rle.csv: line 2, 1.2.3.2: .*ends at pixel 1030, beyond the 1024 of a 32x32 image"),
        ("1.2.3.1, -1\n1.2.3.2, 1 2 3\n", "line 3, 1.2.3.2: .*has 3 numbers"),
        ("1.2.3.2, 5 -5\n", "line 2, 1.2.3.2: .*lengths 1 or more"),
        ("9.9.9, -1\n", "none of its 1 images is among the 5 DICOM files"),
    ],
)
def test_a_table_that_does_not_fit_the_files_is_refused(siim, table, finding):
    folder = siim(table)
    with pytest.raises(ValueError, match=finding):
        listed(folder)


def test_missing_pieces_are_named(siim, tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        listed(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no .dcm file in it or below it"):
        listed(tmp_path)
    with pytest.raises(ValueError, match=r"archive: no table of masks: put train-rle\.csv"):
        listed(siim(None))


def test_one_id_in_two_files_is_refused(siim):
    folder = siim(TABLE)
    shutil.copytree(folder / "dicom-images-train" / "study-2", folder / "dicom-images-test")
    with pytest.raises(ValueError, match=r"1\.2\.3\.2\.dcm and .*1\.2\.3\.2\.dcm are both case"):
        listed(folder)


def test_the_real_tree(real_data):
    listing = listed(real_data / "siim")
    assert (len(listing.cases), sum(case.negative for case in listing.cases)) == (10, 5)
    assert {(one.case_id[:10], one.reason) for one in listing.left_out} == {("test_image", UNLABELLED)}
    cases = [source.read() for source in listing.cases]
    assert all(case.mask.shape == case.pixels.shape == (1024, 1024) for case in cases)
    assert [case.mask.any() for case in cases] == [not source.negative for source in listing.cases]
    assert len({case.radiograph.patient_id for case in cases}) == 10


def test_the_whole_official_table_is_listed_in_two_seconds(real_data, tmp_path):
    table = real_data / "siim" / "train-rle-full.csv.gz"
    shutil.copy(table, tmp_path / "stage_2_train.csv.gz")
    with gzip.open(table, "rt") as file:
        ids = {row[0] for row in list(csv.reader(file))[1:]}
    for tree in range(10):
        (tmp_path / "dicom-images-train" / str(tree)).mkdir(parents=True)
    for case_id in [*ids, *(f"unlabelled-{i}" for i in range(42))]:
        (tmp_path / "dicom-images-train" / case_id[-1] / f"{case_id}.dcm").touch()
    start = time.process_time()
    listing = listed(tmp_path)
    assert time.process_time() - start < 2
    assert (len(listing.cases), sum(not case.negative for case in listing.cases), len(listing.left_out)) == (12047, 2669, 42)
    real = listed(real_data / "siim", name="few").cases
    listed_too = {case.case_id: case for case in listing.cases}
    assert all(listed_too[case.case_id].rle == case.rle for case in real)
