"""Written radiographs are valid DICOM of SIIM-ACR's form and read back as they were given."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from chestseg.dicom.radiograph import read_radiograph
from chestseg.dicom.write import write_radiograph

IDENTITY = {
    "patient_id": "phantom-1",
    "study_uid": "2.25.11",
    "series_uid": "2.25.12",
    "sop_uid": "2.25.13",
    "view": "AP",
    "sex": "F",
    "age": "038Y",
}


def ramp(rows: int = 48, columns: int = 64) -> np.ndarray:
    return np.add.outer(np.arange(rows), 2 * np.arange(columns)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(48, 64), (31, 33)])
def test_uncompressed_pixels_and_identity_come_back(tmp_path: Path, shape: tuple[int, int]):
    path = tmp_path / "study" / "series" / "image.dcm"
    write_radiograph(path, ramp(*shape), **IDENTITY, spacing_mm=(0.5 * 640 / shape[0], 0.5))
    radiograph = read_radiograph(path)
    assert np.array_equal(radiograph.pixels, ramp(*shape))
    assert radiograph.patient_id == "phantom-1"
    assert (radiograph.study_uid, radiograph.series_uid, radiograph.sop_uid) == ("2.25.11", "2.25.12", "2.25.13")
    assert (radiograph.view, radiograph.sex, radiograph.age) == ("AP", "F", "038Y")
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_jpeg_baseline_comes_back_nearly_equal(tmp_path: Path):
    write_radiograph(tmp_path / "image.dcm", ramp(), **IDENTITY, jpeg_quality=95)
    dataset = pydicom.dcmread(tmp_path / "image.dcm")
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert dataset.LossyImageCompression == "01"
    assert np.abs(read_radiograph(tmp_path / "image.dcm").pixels.astype(int) - ramp()).mean() < 2


@pytest.mark.parametrize("quality", [None, 90])
def test_equal_arguments_give_equal_bytes(tmp_path: Path, quality: int | None):
    for name in ("one.dcm", "two.dcm"):
        write_radiograph(tmp_path / name, ramp(), **IDENTITY, jpeg_quality=quality)
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()


def test_attributes_are_those_of_the_published_files(tmp_path: Path, real_data: Path):
    published = pydicom.dcmread(next((real_data / "siim" / "dicom-images-train").rglob("*.dcm")))
    write_radiograph(tmp_path / "image.dcm", ramp(), **IDENTITY, spacing_mm=(0.4, 0.4), jpeg_quality=90)
    written = pydicom.dcmread(tmp_path / "image.dcm")
    assert set(published.keys()) == set(written.keys()) - {pydicom.tag.Tag("LossyImageCompressionRatio")}
    for keyword in ("SOPClassUID", "Modality", "ConversionType", "BodyPartExamined", "PhotometricInterpretation", "BitsStored"):
        assert published[keyword].value == written[keyword].value


@pytest.mark.parametrize("wrong", [{"age": "38"}, {"sop_uid": "ID_4d6269d79"}, {"view": "much too long a view"}])
def test_what_dicom_does_not_allow_is_refused(tmp_path: Path, wrong: dict[str, str]):
    with pytest.raises(ValueError, match=next(iter(wrong.values()))[:16]):
        write_radiograph(tmp_path / "image.dcm", ramp(), **(IDENTITY | wrong))
    assert not (tmp_path / "image.dcm").exists()


@pytest.mark.parametrize("pixels", [ramp().astype(np.uint16), np.zeros((4, 4, 3), np.uint8)])
def test_other_pixels_are_refused(tmp_path: Path, pixels: np.ndarray):
    with pytest.raises(ValueError, match="give uint8"):
        write_radiograph(tmp_path / "image.dcm", pixels, **IDENTITY)
