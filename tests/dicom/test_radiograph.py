"""The door as its users see it: what a radiograph carries, and one clear line for what is none."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from chestseg.dicom.radiograph import Radiograph, read_radiograph

PIXELS = np.arange(400, dtype=np.uint16).reshape(20, 20).astype(np.uint8)


def test_attributes_come_as_the_file_has_them(dicom):
    found = read_radiograph(
        dicom(
            PIXELS,
            PatientID=" abc ",
            StudyInstanceUID="1.2.840.1",
            SeriesInstanceUID="1.2.840.2",
            SOPInstanceUID="1.2.840.3",
            ViewPosition="AP",
            PatientSex="F",
            PatientAge="038Y",
            Modality="CR",
            PixelSpacing=[20.0, 15.0],
        )
    )
    assert np.array_equal(found.pixels, PIXELS)
    assert (found.patient_id, found.study_uid, found.series_uid, found.sop_uid) == ("abc", "1.2.840.1", "1.2.840.2", "1.2.840.3")
    assert (found.view, found.sex, found.age, found.modality, found.spacing_mm) == ("AP", "F", "038Y", "CR", (20.0, 15.0))
    assert found.transfer_syntax == "Explicit VR Little Endian"


def test_nothing_is_invented(dicom):
    found = read_radiograph(dicom(PIXELS, SOPInstanceUID=None, Modality=None, PatientID="", PatientSex="", ViewPosition=None))
    bare = Radiograph(found.pixels, transfer_syntax=found.transfer_syntax)
    assert {k: v for k, v in vars(found).items() if k != "pixels"} == {k: v for k, v in vars(bare).items() if k != "pixels"}
    assert found.patient_id == ""


def test_path_bytes_and_open_file_give_the_same(dicom, tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(PIXELS))
    with open(path, "rb") as file:
        every = [read_radiograph(source) for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file)]
    assert all(np.array_equal(found.pixels, PIXELS) for found in every)


def test_png_and_jpeg_are_told_by_their_content(tmp_path):
    path = tmp_path / "misnamed.dcm"
    Image.fromarray(PIXELS).save(path, format="PNG")
    assert np.array_equal(read_radiograph(path).pixels, PIXELS)
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format="JPEG", quality=100)
    found = read_radiograph(file.getvalue())
    assert np.abs(found.pixels.astype(int) - PIXELS).max() < 20
    assert (found.sop_uid, found.spacing_mm, found.transfer_syntax) == (None, None, None)


def test_siims_files_come_out_as_stored(real_data):
    files = sorted((real_data / "siim").rglob("*.dcm"))
    assert len(files) == 15
    for path in files:
        found = read_radiograph(path)
        dataset = dcmread(path)
        assert np.array_equal(found.pixels, dataset.pixel_array)
        assert found.spacing_mm is None
        assert found.view in ("AP", "PA")


@pytest.mark.parametrize("name", ["6154", "6247", "6278"])
def test_real_cr_files_of_12_bits_are_read(name):
    found = read_radiograph(next(Path(get_testdata_file("DICOMDIR")).parent.glob(f"77654033/*/{name}")))
    assert (found.modality, found.pixels.shape, found.transfer_syntax) == ("CR", (16, 16), "Explicit VR Little Endian")


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("MR_truncated.dcm", "damaged image .*less than expected"),
        ("rtplan.dcm", "holds no pixel data"),
        ("DICOMDIR", "holds no pixel data"),
        ("README.txt", "neither DICOM nor PNG nor JPEG"),
        ("examples_rgb_color.dcm", "colour image"),
        ("examples_ybr_color.dcm", "holds 30 frames"),
        ("examples_palette.dcm", "colour image .PALETTE COLOR."),
        ("rtdose_1frame.dcm", "32 bits stored in 32"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "declares 1024x256 pixels and holds"),
        ("badVR.dcm", "damaged image"),
    ],
)
def test_what_is_no_radiograph_is_refused_in_one_line(name, finding):
    path = get_testdata_file(name)
    with pytest.raises(ValueError, match=finding) as error:
        read_radiograph(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.95, 0.999])
def test_a_file_cut_short_is_refused_wherever_it_was_cut(real_data, tmp_path, share):
    whole = sorted((real_data / "siim" / "dicom-images-test").glob("*.dcm"))[0].read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"^[^\n]*cut\.dcm: [^\n]+: [^\n]+$"):
        read_radiograph(path)


def test_damage_anywhere_ends_in_a_value_error(dicom):
    whole = dicom(PIXELS, PixelSpacing=[1.0, 1.0], WindowCenter=100, WindowWidth=50, PatientAge="038Y")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(128, len(whole), 6):
            damaged[place] = rng.integers(256)
        try:
            read_radiograph(bytes(damaged))
        except ValueError:
            refused += 1
    assert 0 < refused < 300
