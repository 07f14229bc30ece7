"""Compressed transfer syntaxes: each decodes to the stored values, and damaged streams are refused before they cost anything."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from chestseg.dicom.codestream import decode
from chestseg.dicom.dataset import parse_dicom, stored_values
from chestseg.dicom.radiograph import read_radiograph

X, Y = np.meshgrid(np.arange(48), np.arange(40))
SMOOTH = (X * 2 + Y).astype(np.uint16)


def stored(file: bytes) -> np.ndarray:
    return stored_values(parse_dicom(file))


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (uid.JPEGLossless, lambda values: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=12)),
        (uid.JPEGLosslessSV1, lambda values: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=12)),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
        (uid.JPEG2000Lossless, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, bitspersample=12)),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_frames_give_back_what_was_stored(dicom, syntax, encode, signed):
    values = SMOOTH * 20
    frame = encode(values)
    pixels = values.astype(np.int16) if signed else values
    expected = pixels << 4 >> 4
    assert np.array_equal(stored(dicom(pixels, frame, syntax, BitsStored=12)), expected)
    assert not signed or expected.min() < 0


@pytest.mark.parametrize(
    ("syntax", "depth", "encode"),
    [
        (uid.JPEGBaseline8Bit, 8, lambda values: imagecodecs.jpeg8_encode(values.astype(np.uint8), level=95)),
        (uid.JPEGExtended12Bit, 8, lambda values: imagecodecs.jpeg8_encode(values.astype(np.uint8), level=95)),
        (uid.JPEGExtended12Bit, 12, lambda values: imagecodecs.jpeg8_encode(values, level=95, bitspersample=12)),
        (uid.JPEGLSNearLossless, 8, lambda values: imagecodecs.jpegls_encode(values.astype(np.uint8), level=2)),
        (uid.JPEG2000, 8, lambda values: imagecodecs.jpeg2k_encode(values.astype(np.uint8), codecformat="j2k", level=60)),
    ],
)
def test_lossy_frames_come_close(dicom, syntax, depth, encode):
    pixels = SMOOTH if depth == 12 else SMOOTH.astype(np.uint8)
    found = stored(dicom(pixels, encode(SMOOTH), syntax, BitsStored=depth))
    assert found.dtype == pixels.dtype
    assert np.abs(found.astype(int) - SMOOTH).max() <= 4


@pytest.mark.parametrize("form", ["bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "RLE"])
def test_one_image_in_several_syntaxes_is_one_image(form):
    values = stored_values(parse_dicom(Path(get_testdata_file(f"MR_small_{form}.dcm")).read_bytes()))
    assert np.array_equal(values, dcmread(get_testdata_file("MR_small.dcm")).pixel_array)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("693_J2KI.dcm", -2971, 2836),
        ("J2K_pixelrep_mismatch.dcm", -2000, 1896),
        ("JPEG2000.dcm", -30, 245),
        ("JPEGLSNearLossless_08.dcm", 0, 255),
        ("JPEGLSNearLossless_16.dcm", 0, 65535),
        ("examples_overlay.dcm", 0, 1123),
        ("image_dfl.dcm", 0, 255),
    ],
)
def test_values_have_the_sign_and_range_that_gdcm_gives_them(name, low, high):
    values = stored_values(parse_dicom(Path(get_testdata_file(name)).read_bytes()))
    assert (values.min(), values.max()) == (low, high)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_12_bits_of_jpeg_extended(name):
    values = stored_values(parse_dicom(Path(get_testdata_file(name)).read_bytes()))
    assert (values.shape, values.min(), values.max()) == ((1024, 256), 0, 264)
    assert values[500, 100:104].tolist() == [31, 28, 24, 21]


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.JPEG2000MC])
def test_a_syntax_without_decoder_is_called_by_its_name(dicom, syntax):
    with pytest.raises(ValueError, match=f"^image: no decoder for transfer syntax {syntax.name} "):
        read_radiograph(dicom(SMOOTH, b"\0" * 100, syntax))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode),
        (uid.JPEGLosslessSV1, lambda values: imagecodecs.jpeg8_encode(values, lossless=True)),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
        (uid.JPEG2000Lossless, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)),
        (uid.RLELossless, None),
    ],
)
def test_a_stream_cut_short_is_refused(dicom, syntax, encode, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    frame = encode(noise) if encode else rle_lossless(noise)
    assert stored(dicom(noise, frame, syntax)).shape == (64, 64)
    with pytest.raises(ValueError, match=f"^x.dcm: .*{syntax.name[:8]}.* (damaged|cut short)"):
        read_radiograph(dicom(noise, frame[: int(share * len(frame))], syntax), name="x.dcm")


def rle_lossless(values: np.ndarray) -> bytes:
    rows = b"".join(b"\x3f" + row.tobytes() for row in values)
    return struct.pack("<16I", 1, 64, *[0] * 14) + rows


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(dicom, syntax):
    stream = {
        uid.JPEGBaseline8Bit: b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xd9",
        uid.JPEGLSLossless: b"\xff\xd8\xff\xf7\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xd9",
        uid.JPEG2000Lossless: b"\xff\x4f\xff\x51\x00\x29\x00\x00" + struct.pack(">4I", 65535, 65535, 0, 0) + b"\xff\xd9",
    }[syntax]
    with pytest.raises(ValueError, match="declares 40x48 pixels and holds 65535x65535"):
        read_radiograph(dicom(SMOOTH.astype(np.uint8), stream, syntax))


def test_real_files_decode_as_pydicoms_decoders_have_them(real_data):
    file = next(iter(sorted((real_data / "siim" / "dicom-images-test").glob("*.dcm")))).read_bytes()
    dataset = parse_dicom(file)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    assert np.array_equal(decode(frame, uid.JPEGBaseline8Bit, (1024, 1024)), dataset.pixel_array)
    lossless = stored_values(parse_dicom((real_data / "ricord_slices" / "1-040.dcm").read_bytes()))
    assert (lossless.dtype, lossless.min(), lossless.max()) == (np.int16, -2000, 2474)
