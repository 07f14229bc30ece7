"""RICORD's tree and its annotations, on small series with its quirks."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.config import Source
from chestseg.data.pairs import NO_IMAGE
from chestseg.data.ricord import EXAM_ONLY, LINES_LOST, MULTI_FRAME, NOT_ANNOTATED, OTHER_LABELS, OTHER_SERIES, PART, list_ricord
from chestseg.dicom.write_series import write_series
from tests.data.test_ricord_annotations import LABELS, box
from tests.data.volumes import HU, SHAPE, volume_data

DOWNWARDS = Grid(SHAPE, Grid.upright(SHAPE, (-5.0, 0.8, 0.8)).affine)
CORONAL = Grid(SHAPE, Grid.upright(SHAPE, (0.8, 5.0, 0.8)).affine[:, [1, 0, 2, 3]])
OUTLINED, OTHER = "1.1.1", "1.1.2"


def drawn(series_uid: str, number: int, label: str, vertices: list | None, reader: str = "U_1") -> dict:
    uids = {"StudyInstanceUID": series_uid[:3], "SeriesInstanceUID": series_uid, "SOPInstanceUID": f"{series_uid}.{number}"}
    return {"labelId": label, "createdById": reader, "data": None if vertices is None else {"vertices": vertices}, **uids}


def said(study_uid: str) -> dict:
    uids = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": None, "SOPInstanceUID": None}
    return {"labelId": "L_neg", "createdById": "U_1", "data": None, **uids}


ROWS = [
    drawn("1.5.1", 1, "L_op", None),
    drawn(OUTLINED, 3, "L_op", box(0, 0, 3, 1)),
    said("1.2"),
    drawn(OUTLINED, 1, "L_tib", box(0, 1, 1, 2), "U_2"),
    drawn(OUTLINED, 3, "L_op", None),
    drawn("1.4.1", 1, "L_at", box(0, 0, 5, 5)),
    said("1.1"),
    drawn("1.6.1", 1, "L_op", box(0, 0, 5, 5)),
]
SERIES = {
    OUTLINED: DOWNWARDS,
    OTHER: DOWNWARDS,
    "1.1.3": CORONAL,
    "1.2.1": DOWNWARDS,
    "1.3.1": DOWNWARDS,
    "1.4.1": DOWNWARDS,
    "1.5.1": DOWNWARDS,
}


def write_images(root: Path, series_uid: str, grid: Grid = DOWNWARDS, **settings: object) -> Path:
    folder = root / "MIDRC-RICORD-1A" / f"patient-{series_uid[2]}" / series_uid[:3] / series_uid
    identity = {"patient_id": f"patient-{series_uid[2]}", "study_uid": series_uid[:3], "series_uid": series_uid}
    write_series(folder, Volume(HU, grid), **identity, sex="F", age="048Y", **settings)
    return folder


def write_annotations(root: Path, rows: list[dict]) -> None:
    text = json.dumps({"labelGroups": [{"id": "G", "labels": LABELS}], "datasets": [{"id": "D", "annotations": rows}]})
    (root / "MIDRC-RICORD-1a_annotations_labelgroup_all_2020-Dec-8.json").write_text(text)


def listed(root: Path, **settings: object):
    return list_ricord(Source(reader="ricord", path=str(root), **settings))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for series_uid, grid in SERIES.items():
        write_images(tmp_path, series_uid, grid)
    write_annotations(tmp_path, ROWS)
    return tmp_path


def test_one_series_has_outlines_and_the_others_are_left_out_with_reasons(root):
    listing = listed(root)
    assert [(case.case_id, case.negative) for case in listing.cases] == [(OUTLINED, False)]
    assert {one.case_id: one.reason for one in listing.left_out} == {
        OTHER: OTHER_SERIES,
        "1.1.3": "coronal series, only axial ones are read",
        "1.2.1": EXAM_ONLY,
        "1.3.1": NOT_ANNOTATED,
        "1.4.1": OTHER_LABELS,
        "1.5.1": LINES_LOST,
        "1.6.1": NO_IMAGE,
    }


def test_a_case_is_read_with_its_outlines_on_their_slices(root):
    source = listed(root).cases[0]
    assert len(source.files) == 3
    case = source.read(volume_data())
    # Files were written from the head down; a volume's slices run up.
    assert np.array_equal(case.volume.values, HU[::-1])
    assert np.argwhere(case.mask).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [2, 1, 0]]
    assert (case.patient_id, case.sex, case.age, case.modality) == ("patient-1", "F", "048Y", "CT")
    assert case.notes == ("some of its annotations have no outline",)


def test_labels_and_annotators_are_the_sources_choice(root):
    def area(**settings: object) -> int:
        return int(listed(root, **settings).cases[0].read(volume_data()).mask.sum())

    assert area(labels=["infectious TIB/micronodules"]) == 1
    assert area(annotators="majority") == 0
    assert [case.case_id for case in listed(root, labels=["Atelectasis"]).cases] == ["1.4.1"]


@pytest.mark.parametrize(("labels", "error"), [(["Pneumonia"], "'Pneumonia'"), (["Negative for pneumonia"], "'Negative"), ([1], "1")])
def test_labels_that_are_not_drawn_are_named(root, labels, error):
    with pytest.raises(
        ValueError, match=rf"2020-Dec-8\.json: `labels` names .*{error}.*: give labels it draws, Atelectasis, Infectious TIB"
    ):
        listed(root, labels=labels)


def test_series_without_infiltrates_are_negative_only_where_the_source_says_so(root):
    cases = {case.case_id: case for case in listed(root, without_mask="negative").cases}
    assert {case_id: case.negative for case_id, case in cases.items()} == {OUTLINED: False, "1.2.1": True, "1.4.1": True}
    case = cases["1.2.1"].read(volume_data())
    assert not case.mask.any()
    assert case.patient_id == "patient-2"


def test_files_may_lie_anywhere_and_other_files_are_told(root, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in root.rglob("*.dcm"):
        path.rename(flat / f"{path.parent.name}-{path.name}")
    (flat / "readme.txt").write_text("x" * 200)
    write_annotations(flat, ROWS)
    listing = listed(flat)
    assert [case.read(volume_data()).mask.sum() for case in listing.cases] == [4]
    assert [one.path for one in listing.left_out if one.case_id == "readme"] == [str(flat / "readme.txt")]
    assert Counter(one.reason for one in listing.left_out)[EXAM_ONLY] == 1


def test_localisers_and_enhanced_images_are_left_out(root):
    write_images(root, "1.6.1", enhanced=True)
    for path in write_images(root, "1.1.4").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.save_as(path)
    reasons = {one.case_id: one.reason for one in listed(root).left_out}
    assert (reasons["1.1.4"], reasons["1.6.1"]) == ("localiser", MULTI_FRAME)


def test_of_a_series_in_two_places_the_larger_part_is_taken(tmp_path):
    folder = tmp_path / "s"
    six = Volume(np.concatenate([HU, HU]), Grid.upright((6, 4, 5), (2.0, 0.8, 0.8)))
    for path in write_series(folder, six, patient_id="p", study_uid="1.1", series_uid=OUTLINED)[4:]:
        dataset = pydicom.dcmread(path)
        dataset.FrameOfReferenceUID = "1.9"
        dataset.save_as(path)
    write_annotations(tmp_path, [drawn(OUTLINED, 2, "L_op", box(0, 0, 1, 1))])
    listing = listed(tmp_path)
    assert [(case.case_id, len(case.files)) for case in listing.cases] == [(OUTLINED, 4)]
    assert [one.reason for one in listing.left_out] == [PART]
    assert listing.cases[0].read(volume_data()).mask.sum() == 1


def test_a_series_with_a_gap_is_refused_or_repaired(tmp_path):
    folder = tmp_path / "s"
    grid = Grid.upright((6, 4, 5), (2.0, 0.8, 0.8))
    write_series(folder, Volume(np.concatenate([HU, HU]), grid), patient_id="p", study_uid="1.1", series_uid=OUTLINED)
    (folder / "IM0003.dcm").unlink()
    write_annotations(tmp_path, [drawn(OUTLINED, 2, "L_op", box(0, 0, 1, 1))])
    source = listed(tmp_path).cases[0]
    with pytest.raises(ValueError, match="missing.*repair mode"):
        source.read(volume_data())
    case = source.read(volume_data(series="repair"))
    assert case.volume.values.shape == (6, 4, 5)
    assert case.mask[:, 0, 0].tolist() == [0, 1, 1, 0, 0, 0]
    assert len(case.notes) == 1


def test_outlines_on_resampled_slices_are_refused(tmp_path):
    folder = tmp_path / "s"
    tall = Volume(np.tile(HU, (1, 3, 1)), Grid.upright((3, 12, 5), (5.0, 0.8, 0.8)))
    write_series(folder, tall, patient_id="p", study_uid="1.1", series_uid=OUTLINED, tilt_degrees=20.0)
    write_annotations(tmp_path, [drawn(OUTLINED, 3, "L_op", box(0, 0, 1, 1))])
    with pytest.raises(ValueError, match="1 of 1 images with outlines are not among its slices, they are missing or were resampled"):
        listed(tmp_path).cases[0].read(volume_data(series="repair"))


def test_the_annotations_have_to_be_there_once(root):
    path = next(root.glob("*.json"))
    (root / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"2020-Dec-8\.json and other\.json could both be the annotations"):
        listed(root)
    (root / "other.json").unlink()
    path.rename(root / "MIDRC-RICORD-1A" / path.name)
    assert len(listed(root).cases) == 1
    (root / "MIDRC-RICORD-1A" / path.name).unlink()
    with pytest.raises(ValueError, match=r"no \.json file with the annotations: put MIDRC-RICORD-1a_annotations"):
        listed(root)
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        listed(root / "nowhere")


def test_annotations_of_other_images_are_named(root):
    write_annotations(root, [drawn("7.7.7", 1, "L_op", box(0, 0, 1, 1))])
    with pytest.raises(ValueError, match="none of 7 series there has an outline of Infectious opacity or Infectious TIB/micronodules in"):
        listed(root)


def test_the_real_slices_with_an_outline(real_data, tmp_path):
    (tmp_path / "images").symlink_to((real_data / "ricord_slices").resolve())
    files = sorted((real_data / "ricord_slices").glob("*.dcm"))
    header = pydicom.dcmread(files[4], stop_before_pixels=True)
    row = {key: str(header[key].value) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    write_annotations(tmp_path, [{"labelId": "L_op", "createdById": "U", "data": {"vertices": box(100, 200, 110, 220)}, **row}])
    source = listed(tmp_path).cases[0]
    case = source.read(volume_data())
    assert case.volume.values.shape == (len(files), 512, 512)
    assert case.patient_id.startswith("MIDRC-RICORD-1A")
    assert case.mask.sum() == 200
    heights = [float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]) for path in files]
    assert np.flatnonzero(case.mask.any(axis=(1, 2))).tolist() == [int(np.argsort(heights).tolist().index(4))]
