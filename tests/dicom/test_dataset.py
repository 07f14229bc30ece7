"""Stored values, and which images have them."""

import io

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file

from chestseg.dicom.dataset import parse_dicom, read_shape, stored_values
from chestseg.dicom.source import Refused

PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)


def stored(file: bytes) -> np.ndarray:
    return stored_values(parse_dicom(file))


def without_meta(file: bytes) -> bytes:
    bare = io.BytesIO()
    dataset = dcmread(io.BytesIO(file))
    implicit, little = dataset.original_encoding
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(bare, implicit_vr=implicit, little_endian=little)
    return bare.getvalue()


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_files_without_file_meta_information_are_read_as_they_were_parsed(dicom, syntax):
    pixels = PIXELS.byteswap() if syntax == uid.ExplicitVRBigEndian else PIXELS
    file = without_meta(dicom(pixels, syntax=syntax))
    assert file[128:132] != b"DICM"
    assert np.array_equal(stored(file), PIXELS)


def test_compressed_data_of_an_unknown_syntax_is_refused(dicom):
    with pytest.raises(Refused, match="does not say how"):
        stored(without_meta(dicom(PIXELS, b"\xff\xd8\xff\xd9", uid.JPEGBaseline8Bit)))


def test_one_frame_may_be_called_so_and_several_are_refused(dicom):
    assert np.array_equal(stored(dicom(PIXELS, NumberOfFrames=1)), PIXELS)
    with pytest.raises(Refused, match="holds 2 frames"):
        stored(dicom(np.concatenate([PIXELS, PIXELS]), Rows=20, NumberOfFrames=2))


def test_colour_counts_as_grey_where_its_channels_are_equal(dicom):
    grey = PIXELS.astype(np.uint8)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    assert np.array_equal(stored(dicom(np.stack([grey] * 3, axis=-1), **colour)), grey)
    with pytest.raises(Refused, match="colour image"):
        stored(dicom(np.stack([grey, grey, grey + 1], axis=-1), **colour))


@pytest.mark.parametrize(
    ("attributes", "finding"),
    [
        ({"BitsStored": 7}, "7 bits stored in 16"),
        ({"BitsStored": 12, "HighBit": 15}, "high bit 15 of 12 bits stored"),
        ({"Rows": 30000, "Columns": 30000}, "declares 30000x30000 pixels"),
        ({"BitsStored": 17}, "17 bits stored in 16"),
    ],
)
def test_layouts_no_radiograph_has_are_refused(dicom, attributes, finding):
    with pytest.raises(Refused, match=finding):
        stored(dicom(PIXELS, **attributes))


def test_bits_above_those_stored_are_dropped(dicom):
    assert np.array_equal(stored(dicom(PIXELS | 0xF000, BitsStored=12)), PIXELS)


def test_the_shape_is_known_without_decoding(dicom, tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(PIXELS, b"damaged", uid.JPEGBaseline8Bit))
    assert read_shape(path) == (20, 30)
    assert read_shape(get_testdata_file("MR_small.dcm")) == (64, 64)
    with pytest.raises(ValueError, match="neither DICOM"):
        read_shape(b"nothing of the kind")
