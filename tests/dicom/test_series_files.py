"""Grouping of files: by patient, study, series, frame of reference and orientation."""

import pytest

from chestseg.dicom.series_files import list_series
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, axis_aligned, edit, phantom


def test_series_are_told_apart_and_know_their_plane(tmp_path):
    axial, coronal, sagittal = ((2, 1, 0), (1, 2, 0), (0, 2, 1))
    by_order = {tuple(abs(d).argmax(axis=0).tolist()): d for d in axis_aligned()}
    for number, order in enumerate((axial, coronal, sagittal)):
        write_series(
            tmp_path / str(number),
            phantom(by_order[order], shape=(5 - number, 6, 6)),
            description=f"d{number}",
            **IDS | {"series_uid": f"1.{number}"},
        )
    assert [(s.series_uid, s.plane, len(s.slices), s.description) for s in list_series(tmp_path)] == [
        ("1.0", "axial", 5, "d0"),
        ("1.1", "coronal", 4, "d1"),
        ("1.2", "sagittal", 3, "d2"),
    ]


def test_one_series_uid_may_hold_several_orientations_and_patients(tmp_path):
    write_series(tmp_path / "a", phantom(), **IDS)
    write_series(tmp_path / "b", phantom(axis_aligned()[5], shape=(3, 4, 4)), **IDS)
    other = write_series(tmp_path / "c", phantom(shape=(2, 4, 4)), **IDS | {"patient_id": "P2"})
    listing = list_series(tmp_path)
    assert [(s.patient_id, len(s.slices)) for s in listing] == [("P1", 7), ("P1", 3), ("P2", 2)]
    assert listing[2].paths == tuple(other)


def test_without_a_series_uid_folders_tell_series_apart(tmp_path):
    for name in "ab":
        for path in write_series(tmp_path / name, phantom(), **IDS):
            edit(path, SeriesInstanceUID="")
    assert [len(s.slices) for s in list_series(tmp_path)] == [7, 7]


def test_files_of_other_kinds_are_set_apart_with_their_reason(tmp_path, dicom):
    import numpy as np

    write_series(tmp_path, phantom(), **IDS)
    (tmp_path / "notes.txt").write_text("x" * 2000)
    (tmp_path / "colour.dcm").write_bytes(dicom(np.zeros((4, 4), np.uint8), SamplesPerPixel=3, Modality="CT"))
    (tmp_path / "frames.dcm").write_bytes(dicom(np.zeros((4, 4), np.uint8), NumberOfFrames=4, Modality="CT"))
    (tmp_path / "report.dcm").write_bytes(dicom(np.zeros((4, 4), np.uint8), Modality="SR"))
    reasons = {s.left_out for s in list_series(tmp_path)}
    assert reasons == {
        "", "colour image", "not a DICOM image", "modality SR, only CT is read",
        "4 frames without a position of each: export them as Enhanced CT or one by one",
    }  # fmt: skip


def test_nothing_to_list_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no files: give a folder of DICOM files"):
        list_series(tmp_path)
    with pytest.raises(ValueError, match="absent: no such file: check the path"):
        list_series(tmp_path / "absent")
