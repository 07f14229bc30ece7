"""Segmentations read back by highdicom, dcmqi and dciodvfy: every voxel where it was, and nothing invented."""

import io
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.dicom.segmentation import SegmentationModel, write_segmentation
from chestseg.dicom.series import Series, read_series
from chestseg.dicom.write import write_radiograph
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, axis_aligned, edit, oblique, phantom, smooth

TOOLS = Path(sys.executable).parent
MODEL = SegmentationModel("ct-infiltrate", "3")
NOON = datetime(2026, 1, 2, 12)
RADIOGRAPH = {"patient_id": "P1", "study_uid": "1.2.3", "series_uid": "1.2.3.4", "sop_uid": "1.2.3.4.5"}


def mask_of(shape) -> np.ndarray:
    """No symmetry of any kind, and a mark in the first and the last slice, so that no slice is left out."""
    return np.random.default_rng(7).random(shape) < 0.2


def write(paths, series: Series, mask=None, **kwargs) -> bytes:
    mask = mask_of(series.volume.grid.shape) if mask is None else mask
    return write_segmentation(paths, mask, "infiltrate", MODEL, series=series, when=NOON, **kwargs)


def parse(data: bytes) -> highdicom.seg.Segmentation:
    return highdicom.seg.segread(io.BytesIO(data))


def assert_read_by_highdicom(data: bytes, mask: np.ndarray, grid: Grid) -> None:
    read = parse(data).get_volume(combine_segments=True)
    assert_same(Volume(np.asarray(read.array), Grid(read.spatial_shape, read.affine)), Volume(mask, grid))


def assert_read_by_dcmqi(data: bytes, mask: np.ndarray, grid: Grid, folder: Path) -> None:
    folder.mkdir()
    (folder / "seg.dcm").write_bytes(data)
    command = [TOOLS / "segimage2itkimage", "--inputDICOM", folder / "seg.dcm", "--outputDirectory", folder, "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    image = SimpleITK.ReadImage(str(folder / "1.nrrd"))
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    values = SimpleITK.GetArrayFromImage(image)
    assert_same(Volume(values, Grid(values.shape, affine)), Volume(mask, grid))


def assert_same(read: Volume, meant: Volume) -> None:
    read, meant = read.canonical(), meant.canonical()
    assert read.grid.matches(meant.grid, 1e-6)
    assert np.array_equal(read.values, meant.values)


def height(frame, grid: Grid) -> float:
    """Slices from the first."""
    return (np.linalg.inv(grid.affine) @ [*frame.PlanePositionSequence[0].ImagePositionPatient, 1])[0]


def complaints(data: bytes, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    (folder / "verified.dcm").write_bytes(data)
    done = subprocess.run([TOOLS / "dciodvfy", folder / "verified.dcm"], capture_output=True, text=True)
    assert "Segmentation" in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


@pytest.fixture
def series(tmp_path):
    """`series(directions, **options)` gives files, last slice first, and the series read from them."""

    def make(directions=None, mode="strict", **options) -> tuple[list[Path], Series]:
        paths = write_series(tmp_path / "series", phantom(directions), **IDS, **options)
        return paths[::-1], read_series(paths, mode)

    return make


@pytest.fixture
def radiograph(tmp_path) -> Path:
    path = tmp_path / "radiograph.dcm"
    write_radiograph(path, np.zeros((30, 20), np.uint8), spacing_mm=(10, 10), sex="F", age="048Y", **RADIOGRAPH)
    return path


@pytest.mark.parametrize("part", range(6))
def test_axis_aligned_series_come_back_exactly(tmp_path, part):
    for number, directions in enumerate(axis_aligned()[part::6]):
        paths = write_series(tmp_path / str(number), phantom(directions), **IDS)
        read = read_series(paths)
        mask = mask_of(read.volume.grid.shape)
        data = write(paths[3:] + paths[:3], read)
        assert_read_by_highdicom(data, mask, read.volume.grid)
        if number == part:
            assert_read_by_dcmqi(data, mask, read.volume.grid, tmp_path / "dcmqi")


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("directions", [axis_aligned()[1], axis_aligned()[17], axis_aligned()[42], *oblique()])
def test_oblique_and_enhanced_series_come_back_exactly(tmp_path, series, directions, enhanced):
    paths, read = series(directions, enhanced=enhanced)
    mask = mask_of(read.volume.grid.shape)
    data = write(paths, read)
    assert_read_by_highdicom(data, mask, read.volume.grid)
    assert_read_by_dcmqi(data, mask, read.volume.grid, tmp_path / "dcmqi")
    assert complaints(data, tmp_path) == []


@pytest.mark.parametrize("enhanced", [False, True])
def test_each_frame_refers_to_its_slice(series, enhanced):
    paths, read = series(oblique()[1], enhanced=enhanced)
    mask = np.zeros(read.volume.grid.shape, np.uint8)
    mask[2, 3, 4] = mask[5, :2, 7] = 1
    made = parse(write(paths, read, mask))
    assert made.NumberOfFrames == 2
    frames = sorted(made.PerFrameFunctionalGroupsSequence, key=lambda frame: height(frame, read.volume.grid))
    for frame, index in zip(frames, (2, 5), strict=True):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.SpatialLocationsPreserved == "YES"
        assert source.ReferencedSOPInstanceUID == read.sop_uids[index]
        assert source.get("ReferencedFrameNumber") == (index + 1 if enhanced else None)
        assert np.allclose(frame.PlanePositionSequence[0].ImagePositionPatient, read.volume.grid.affine[:3] @ [index, 0, 0, 1])
    (referenced,) = made.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == IDS["series_uid"]
    assert [image.ReferencedSOPInstanceUID for image in referenced.ReferencedInstanceSequence] == list(dict.fromkeys(read.sop_uids))


def test_positions_are_those_of_the_source_to_the_last_digit(series):
    paths, _ = series()
    for number, path in enumerate(paths):
        x, y, z = dcmread(path).ImagePositionPatient
        edit(path, ImagePositionPatient=[x, y, round(float(z) + 0.02 * (number % 2), 2)])
    read = read_series(paths)
    made = parse(write(paths, read))
    stated = {dcmread(path).SOPInstanceUID: dcmread(path).ImagePositionPatient for path in paths}
    for frame in made.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert frame.PlanePositionSequence[0].ImagePositionPatient == stated[source.ReferencedSOPInstanceUID]
    assert len(made.PerFrameFunctionalGroupsSequence) == 7


def test_a_tilted_series_is_segmented_on_its_upright_volume(tmp_path):
    paths = write_series(tmp_path / "tilted", smooth(), tilt_degrees=15, **IDS)
    read = read_series(paths, "repair")
    assert None in read.sop_uids
    mask = mask_of(read.volume.grid.shape)
    data = write(paths, read)
    assert_read_by_highdicom(data, mask, read.volume.grid)
    assert_read_by_dcmqi(data, mask, read.volume.grid, tmp_path / "dcmqi")
    assert complaints(data, tmp_path) == []
    (referenced,) = parse(data).ReferencedSeriesSequence
    assert len(referenced.ReferencedInstanceSequence) == len(paths)


def test_a_series_with_a_gap_is_segmented_on_the_volume_that_fills_it(series):
    paths, _ = series()
    read = read_series(kept := [*paths[:3], *paths[4:]], "repair")
    assert [uid is None for uid in read.sop_uids] == [False, False, False, True, False, False, False]
    assert_read_by_highdicom(write(kept, read), mask_of(read.volume.grid.shape), read.volume.grid)


def test_slices_of_differing_size_are_all_referred_to(tmp_path):
    small, large = (phantom(shape=(3, 8, 8)), phantom(shape=(3, 12, 12)))
    large = Volume(large.values, Grid(large.grid.shape, large.grid.affine @ translation(3)))
    paths = write_series(tmp_path / "a", small, **IDS) + write_series(tmp_path / "b", large, **IDS)
    for number, path in enumerate(paths[3:], 11):
        edit(path, SOPInstanceUID=f"1.2.3.4.{number}", FrameOfReferenceUID="1.2.3.4.0")
    read = read_series(paths, "repair")
    data = write(paths, read)
    assert_read_by_highdicom(data, mask_of(read.volume.grid.shape), read.volume.grid)
    assert len(parse(data).ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 6


def translation(slices: int) -> np.ndarray:
    moved = np.eye(4)
    moved[0, 3] = slices
    return moved


def test_duplicates_that_the_volume_left_out_are_not_referred_to(tmp_path, series):
    paths, _ = series()
    copy = tmp_path / "series" / "copy.dcm"
    copy.write_bytes(paths[2].read_bytes())
    edit(copy, SOPInstanceUID="1.2.3.4.99", InstanceNumber=99)
    read = read_series([copy, *paths], "repair")
    made = parse(write([copy, *paths], read))
    assert "1.2.3.4.99" not in [i.ReferencedSOPInstanceUID for i in made.ReferencedSeriesSequence[0].ReferencedInstanceSequence]


def test_an_empty_volume_has_every_frame_and_says_that_nothing_was_found(tmp_path, series, caplog):
    paths, read = series(oblique()[0])
    empty = np.zeros(read.volume.grid.shape, bool)
    data = write(paths, read, empty)
    made = parse(data)
    assert (made.NumberOfFrames, made.ContentDescription) == (7, "No infiltrate found by software, for research use only")
    assert not made.pixel_array.any()
    assert not caplog.records
    assert_read_by_highdicom(data, empty, read.volume.grid)
    assert_read_by_dcmqi(data, empty, read.volume.grid, tmp_path / "dcmqi")
    assert complaints(data, tmp_path) == []


@pytest.mark.parametrize("frame_of_reference", [None, "1.2.9"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_radiograph(tmp_path, radiograph, frame_of_reference, empty):
    if frame_of_reference:
        edit(radiograph, FrameOfReferenceUID=frame_of_reference, PositionReferenceIndicator="", ImagePositionPatient=[0, 0, 0])
    mask = mask_of((30, 20)) & (not empty)
    data = write_segmentation(radiograph, mask, "pneumothorax", MODEL)
    made = parse(data)
    assert np.array_equal(made.pixel_array, mask)
    assert made.get("FrameOfReferenceUID") == frame_of_reference
    assert made.NumberOfFrames == 1
    frames = made.get_pixels_by_source_instance([RADIOGRAPH["sop_uid"]], combine_segments=True, ignore_spatial_locations=True)
    assert np.array_equal(frames[0], mask)
    (referenced,) = made.ReferencedSeriesSequence
    (image,) = referenced.ReferencedInstanceSequence
    assert (referenced.SeriesInstanceUID, image.ReferencedSOPInstanceUID) == (RADIOGRAPH["series_uid"], RADIOGRAPH["sop_uid"])
    assert "PixelMeasuresSequence" not in made.SharedFunctionalGroupsSequence[0]
    assert complaints(data, tmp_path) == []


def test_codes_and_the_model_are_named(radiograph, series):
    for made, code, region in (
        (parse(write_segmentation(radiograph, mask_of((30, 20)), "pneumothorax", MODEL)), ("36118008", "SCT", "Pneumothorax"), None),
        (parse(write(*series())), ("112121", "DCM", "Infiltrate"), "39607008"),
    ):
        (segment,) = made.SegmentSequence
        (kind,) = segment.SegmentedPropertyTypeCodeSequence
        assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == code
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert [item.CodeValue for item in segment.get("AnatomicRegionSequence", [])] == ([region] if region else [])
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (segment.SegmentAlgorithmType, algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("AUTOMATIC", "ct-infiltrate", "3")
        assert algorithm.AlgorithmSource.startswith("chestseg ")


def test_patient_and_study_are_the_sources(radiograph, capfd):
    study = {
        "SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Zoë", "PatientBirthDate": "19700102", "StudyDate": "20200304",
        "StudyTime": "0506", "AccessionNumber": "A7", "StudyID": "S8", "StudyDescription": "Thorax", "ReferringPhysicianName": "Grün",
    }  # fmt: skip
    edit(radiograph, **study)
    made = parse(write_segmentation(radiograph, mask_of((30, 20)), "pneumothorax", MODEL))
    copied = study | {"PatientID": "P1", "PatientSex": "F", "PatientAge": "048Y", "StudyInstanceUID": "1.2.3"}
    assert {keyword: str(made[keyword].value) for keyword in copied} == copied
    assert capfd.readouterr() == ("", "")


def test_a_one_word_name_is_copied_and_shown_to_nobody(radiograph, recwarn, capfd):
    assert parse(write_segmentation(radiograph, mask_of((30, 20)), "pneumothorax", MODEL)).PatientName == "P1"
    assert (len(recwarn), capfd.readouterr()) == (0, ("", ""))


def test_absent_attributes_stay_empty_and_invalid_codes_are_not_copied(tmp_path, radiograph):
    dataset = dcmread(radiograph)
    dataset.SpecificCharacterSet = ""
    dataset["PatientAge"]._value, dataset["PatientSex"]._value = "38", "FEMALE"
    for keyword in ("PatientName", "PatientBirthDate", "StudyDate", "AccessionNumber", "ReferringPhysicianName"):
        delattr(dataset, keyword)
    data = write_segmentation(dataset, mask_of((30, 20)), "pneumothorax", MODEL)
    made = parse(data)
    assert [str(made[keyword].value or "") for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "PatientAge")] == [""] * 4
    assert (dataset.PatientSex, "PixelData" in dataset, "PatientName" in dataset) == ("FEMALE", True, False)
    assert complaints(data, tmp_path) == []


def test_a_series_that_lacks_attributes(series):
    paths, read = series()
    for path in paths:
        edit(path, PatientName=None, PatientBirthDate=None, PatientSex="X", SliceThickness=None)
    made = parse(write(paths, read))
    assert [str(made[keyword].value or "") for keyword in ("PatientName", "PatientBirthDate", "PatientSex")] == [""] * 3
    assert made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 2.5


def test_the_same_result_is_the_same_object(series):
    paths, read = series()
    data = write(paths, read)
    assert write(paths[::-1], read) == data
    one, other = parse(data), parse(write(paths, read, ~mask_of(read.volume.grid.shape)))
    assert one.SeriesInstanceUID == other.SeriesInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    newer = write_segmentation(paths, mask_of(read.volume.grid.shape), "infiltrate", SegmentationModel("ct-infiltrate", "4"), series=read)
    assert parse(newer).SeriesInstanceUID != one.SeriesInstanceUID


def test_real_radiographs(real_data):
    for path in sorted(real_data.glob("siim/dicom-images-train/*/*/*.dcm")):
        source = dcmread(path)
        mask = mask_of((source.Rows, source.Columns))
        made = parse(write_segmentation(path, mask, "pneumothorax", MODEL))
        assert np.array_equal(made.pixel_array, mask)
        assert (made.PatientID, "FrameOfReferenceUID" in made) == (source.PatientID, False)


@pytest.mark.parametrize("mask, told", [
    (np.zeros((7, 12, 10), bool), r"a mask of shape \(7, 12, 10\) for images of \(7, 10, 12\): give it at the source's size"),
    (np.full((7, 10, 12), 0.5), "a mask of float64 with values other than 0 and 1: threshold it first"),
    (np.full((7, 10, 12), 255), "a mask of int64 with values other than 0 and 1"),
])  # fmt: skip
def test_a_mask_that_does_not_fit(series, mask, told):
    paths, read = series()
    with pytest.raises(ValueError, match=told):
        write(paths, read, mask)


@pytest.mark.parametrize("changes, told", [
    ({"SeriesInstanceUID": "1.2.5"}, "images of several series"),
    ({"StudyInstanceUID": "1.2.5"}, "images of several studies"),
    ({"PatientID": "P2"}, "images of several patients"),
    ({"FrameOfReferenceUID": "1.2.5"}, "images of several frames of reference"),
    ({"FrameOfReferenceUID": None}, "missing or invalid FrameOfReferenceUID"),
    ({"SOPInstanceUID": ""}, "missing or invalid SOPInstanceUID: no object can refer to this image"),
    ({"ImagePositionPatient": [-101.5, 33.25, 8]}, r"image 1\.2\.3\.4\.3 lies .* mm from its slice of the volume"),
    ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "1 images of the volume are not among them"),
    ({"SOPInstanceUID": "1.2.77"}, "1 images of the volume are not among them: give all the files"),
])  # fmt: skip
def test_sources_that_do_not_fit(series, changes, told):
    paths, read = series()
    edit(paths[4], **changes)
    with pytest.raises(ValueError, match=told) as refusal:
        write(paths, read)
    assert "\n" not in str(refusal.value)


def test_sources_of_another_series_or_none(series, radiograph):
    paths, read = series()
    for path in paths:
        edit(path, SeriesInstanceUID="1.2.5")
    with pytest.raises(ValueError, match=r"images of another series than the volume's, 1\.2\.3\.4"):
        write(paths, read)
    with pytest.raises(ValueError, match="no images: give the files"):
        write([], read)
    with pytest.raises(ValueError, match="several images or frames and no `series`"):
        write_segmentation(paths, mask_of((10, 12)), "infiltrate", MODEL)
    with pytest.raises(ValueError, match="a CT image and no `series`"):
        write_segmentation(paths[0], mask_of((10, 12)), "infiltrate", MODEL)
    with pytest.raises(ValueError, match="a mask of shape"):
        write_segmentation(radiograph, mask_of((20, 30)), "pneumothorax", MODEL)


@pytest.mark.parametrize("data, told", [
    (b"\x89PNG\r\n\x1a\n" + bytes(200), "a segmentation refers to DICOM images only"),
    (b"", "the file is empty"),
    (bytes(500), "a segmentation refers to DICOM images only"),
])  # fmt: skip
def test_files_that_are_no_dicom_images(data, told):
    with pytest.raises(ValueError, match=told):
        write_segmentation(data, mask_of((4, 4)), "pneumothorax", MODEL)


@pytest.mark.parametrize("name", ["", " ", "a\\b", "naïve", "a\nb", "x" * 65])
def test_a_model_has_a_name_that_dicom_can_hold(name):
    with pytest.raises(ValueError, match="model name .*: give 1 to 64 printable ASCII"):
        SegmentationModel(name, "1")
