"""Series to volume, end to end: orientations, the real series against SimpleITK, and what is refused."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import SimpleITK

from chestseg.dicom.series import list_series, read_series, repaired_uid, report_series
from chestseg.dicom.series_pixels import AIR
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, assert_same, axis_aligned, edit, oblique, phantom


@pytest.mark.parametrize("enhanced", [False, True], ids=["files", "enhanced"])
@pytest.mark.parametrize("directions", [*axis_aligned()[::5], *oblique()])
def test_every_voxel_comes_back_where_it_was(tmp_path, directions, enhanced):
    volume = phantom(directions)
    write_series(tmp_path, volume, enhanced=enhanced, **IDS)
    series = read_series(tmp_path)
    assert_same(series.volume, volume)
    normal, down, along = series.volume.grid.affine[:3, :3].T
    assert np.dot(np.cross(along, down), normal) > 0
    assert (series.patient_id, series.study_uid, series.series_uid) == ("P1", "1.2.3", "1.2.3.4")
    assert not series.report.findings


@pytest.mark.parametrize("directions", axis_aligned())
def test_all_48_axis_aligned_orientations(tmp_path, directions):
    volume = phantom(directions, shape=(3, 4, 5))
    write_series(tmp_path, volume, enhanced=True, **IDS)
    assert_same(read_series(tmp_path).volume, volume)


@pytest.mark.parametrize("directions", [axis_aligned()[0], *oblique()])
def test_simpleitk_reads_the_same_from_what_is_written(tmp_path, directions):
    write_series(tmp_path, phantom(directions), **IDS)
    values, affine = by_simpleitk(tmp_path)
    series = read_series(tmp_path)
    assert np.array_equal(series.volume.values, values)
    np.testing.assert_allclose(series.volume.grid.affine, affine, atol=1e-6)


@pytest.mark.parametrize("folder", ["ct_dicom_series/covid_P002", "ricord_slices"])
def test_real_series_read_as_simpleitk_reads_them(real_data, folder):
    values, affine = by_simpleitk(real_data / folder)
    series = read_series(real_data / folder)
    assert series.volume.values.dtype == np.int16
    assert np.array_equal(series.volume.values, np.maximum(values, AIR))
    np.testing.assert_allclose(series.volume.grid.affine, affine, atol=1e-9)


def by_simpleitk(folder):
    """Values and the affine of (slice, row, column) by another reader."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


def test_a_series_without_valid_uids_is_read_and_repaired_to_the_same_ones_each_time(real_data):
    folder = real_data / "ct_dicom_series" / "covid_P002"
    first = sorted(folder.iterdir())[:4]
    strict, repaired, again = read_series(first), read_series(first, "repair"), read_series(first, "repair")
    assert "missing or invalid UIDs (study, series, SOP instance, frame of reference)" in strict.report.of_kind("uids").text
    assert strict.sop_uids == (None,) * 4
    assert repaired.study_uid == again.study_uid != strict.study_uid
    assert repaired.series_uid.startswith("2.25.") and repaired.series_uid != repaired.study_uid
    assert (repaired.patient_id, repaired.sex, repaired.age, repaired.modality) == ("P002", "F", "048Y", "CT")


def test_uids_made_up_are_valid_and_those_of_others_stay():
    assert repaired_uid("1.2.3") == "1.2.3"
    assert repaired_uid("", "study", "P1") == repaired_uid("", "study", "P1") != repaired_uid("", "study", "P2")
    assert repaired_uid("896911bf-1143-4c8d-8f04-f3cd1a7f6204") == "2.25.182649786531564538499729245561820242436"


def test_file_names_and_instance_numbers_do_not_order_slices(tmp_path):
    volume = phantom()
    paths = write_series(tmp_path / "written", volume, **IDS)
    (tmp_path / "mixed").mkdir()
    for number, path in enumerate(paths):
        moved = shutil.copy(path, tmp_path / "mixed" / f"{(number * 5) % 7}.dcm")
        edit(moved, InstanceNumber=(number * 3) % 7)
    series = read_series(tmp_path / "mixed")
    assert_same(series.volume, volume)
    assert series.sop_uids == tuple(f"1.2.3.4.{n}" for n in range(1, 8))


def test_each_slice_is_converted_by_its_own_rescale(tmp_path):
    volume = phantom()
    write_series(
        tmp_path, volume, rescales=[(1, -1024), (0.5, -1100), (0.25, -1000), (1, -2000), (1, -1024), (0.5, -1024), (1, -1001)], **IDS
    )
    series = read_series(tmp_path)
    assert_same(series.volume, volume)
    assert series.report.of_kind("rescale_differs").level == "note"


def test_one_of_several_series_is_read_by_its_uid(tmp_path):
    large, small = phantom(), phantom(shape=(4, 10, 12))
    write_series(tmp_path / "a", small, **IDS)
    write_series(tmp_path / "b", large, **IDS | {"series_uid": "1.2.3.5"})
    with pytest.raises(ValueError, match=r"2 CT series where one is meant \(7 axial slices of 1.2.3.5, 4 axial slices of 1.2.3.4\)"):
        read_series(tmp_path)
    assert_same(read_series(tmp_path, series_uid="1.2.3.4").volume, small)
    assert_same(read_series(tmp_path, "repair").volume, large)
    assert [read_series(files).volume.grid.shape[0] for files in list_series(tmp_path)] == [7, 4]
    with pytest.raises(ValueError, match="no CT series 9: name one of those it holds: 1.2.3.5, 1.2.3.4"):
        read_series(tmp_path, series_uid="9")


def test_what_lies_beside_the_series_is_told_and_not_read(tmp_path):
    volume = phantom()
    write_series(tmp_path, volume, **IDS)
    (localiser,) = write_series(tmp_path / "scout", phantom(axis_aligned()[3], shape=(1, 9, 9)), **IDS)
    edit(localiser, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "README.txt").write_text("about these images")
    (tmp_path / ".hidden").write_text("")
    series = read_series(tmp_path)
    assert_same(series.volume, volume)
    told = series.report.of_kind("left_out").text
    assert "1 x localiser" in told and "1 x not a DICOM image" in told


def test_a_slice_of_the_series_that_cannot_be_placed_is_not_passed_over_in_silence(tmp_path):
    paths = write_series(tmp_path, phantom(), **IDS)
    edit(paths[-1], ImagePositionPatient=None)
    with pytest.raises(ValueError, match=r"may be slices of the series cannot be read or placed \(1 x no position"):
        read_series(tmp_path)
    assert read_series(tmp_path, "repair").volume.grid.shape[0] == 6


@pytest.mark.parametrize("mode", ["strict", "repair"])
@pytest.mark.parametrize(
    ("attributes", "finding"),
    [
        ({"Modality": "MR"}, "no CT series to read (7 x modality MR, only CT is read): give the files of one"),
        ({"Modality": ""}, "modality not given"),
        (
            {"SeriesInstanceUID": None, "Modality": "CT", "ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
            "is not two perpendicular unit vectors",
        ),
        ({"PixelSpacing": [0, 0.7]}, "PixelSpacing of 0 mm"),
        ({"PixelSpacing": ["", ""]}, "no position, orientation or pixel spacing"),
        ({"RescaleSlope": None}, "no RescaleSlope and RescaleIntercept in some slices: export the original CT series"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"RescaleType": "OD"}, "RescaleType is OD, not HU"),
        ({"ImagePositionPatient": [0, 0, 0]}, "all slices lie in one place"),
        ({"Rows": 11}, "damaged image"),
    ],
)
def test_what_no_mode_reads_is_refused_with_one_line(tmp_path, attributes, finding, mode):
    for path in write_series(tmp_path, phantom(), **IDS):
        edit(path, **attributes)
    with pytest.raises(ValueError) as refusal:
        read_series(tmp_path, mode)
    assert finding in str(refusal.value) and str(refusal.value).startswith(str(tmp_path)) and "\n" not in str(refusal.value)


def test_a_rescale_that_is_no_number_is_none(tmp_path):
    path = write_series(tmp_path, phantom(), **IDS)[3]
    path.write_bytes(path.read_bytes().replace(b"-1024.0 ", b"nan     "))
    with pytest.raises(ValueError, match="no RescaleSlope and RescaleIntercept in some slices"):
        read_series(tmp_path)


@pytest.mark.parametrize("mode", ["strict", "repair"])
def test_one_slice_is_not_a_volume(tmp_path, mode):
    write_series(tmp_path, phantom(shape=(1, 8, 8)), **IDS)
    with pytest.raises(ValueError, match=r"no CT series to read \(1 x a single slice is not a volume\)"):
        read_series(tmp_path, mode)


def test_3000_slices_are_refused_before_a_pixel_is_read(tmp_path):
    (path,) = write_series(tmp_path, phantom(shape=(3000, 2, 2)), enhanced=True, **IDS)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"3000 slices of 2x2, more than 2048 slices .*: give one acquisition of the chest"):
        read_series(tmp_path)


def test_the_report_of_a_sound_and_of_a_hopeless_series_is_data(tmp_path):
    paths = write_series(tmp_path, phantom(), **IDS)
    sound = report_series(tmp_path)
    assert (sound.slices, sound.refusal("strict"), sound.findings) == (7, None, ())
    assert sound.spacing_mm == pytest.approx((2.5, 0.7, 0.8))
    for path in paths:
        edit(path, Modality="PT")
    hopeless = report_series(tmp_path)
    assert [finding.kind for finding in hopeless.findings] == ["no_series"]
    assert json.loads(json.dumps(asdict(hopeless)))["slices"] == 0
