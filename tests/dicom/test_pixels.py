"""From stored values to grey levels: windows, look-up tables, inversion, padding, and what is shown without any of them."""

import io

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing

from chestseg.dicom.pixels import stretch
from chestseg.dicom.radiograph import read_radiograph

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)
TWELVE = {"BitsStored": 12}


def shown(file: bytes) -> np.ndarray:
    return read_radiograph(file).pixels


def lut(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def test_eight_bits_without_a_window_keep_their_values(dicom):
    assert np.array_equal(shown(dicom(BYTES)), BYTES)
    assert np.array_equal(shown(dicom(BYTES.astype(np.uint16), BitsStored=8)), BYTES)
    assert np.array_equal(shown(dicom(BYTES, RescaleSlope=2, RescaleIntercept=-100)), BYTES)


def test_eight_signed_bits_are_shown_whole(dicom):
    assert np.array_equal(shown(dicom((BYTES.astype(np.int16) - 128).astype(np.int8))), BYTES)


def test_monochrome1_is_inverted(dicom):
    assert np.array_equal(shown(dicom(BYTES, PhotometricInterpretation="MONOCHROME1")), 255 - BYTES)


@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
def test_the_presentation_lut_shape_does_not_invert_a_second_time(dicom, shape):
    file = dicom(BYTES, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape)
    assert np.array_equal(shown(file), 255 - BYTES)


def test_inversion_comes_after_windowing(dicom):
    window = {"WindowCenter": 1000, "WindowWidth": 400}
    plain = shown(dicom(RAMP, **TWELVE, **window))
    assert np.array_equal(shown(dicom(RAMP, **TWELVE, **window, PhotometricInterpretation="MONOCHROME1")), 255 - plain)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": -2000, "WindowWidth": 4096}])
def test_a_negative_slope_reverses_once_and_monochrome1_once_more(dicom, window):
    rising = {"RescaleSlope": 1, "RescaleIntercept": 0} | ({"WindowCenter": 2000, "WindowWidth": 4096} if window else {})
    falling = {"RescaleSlope": -1, "RescaleIntercept": 0} | window
    reference = shown(dicom(RAMP, **TWELVE, **rising)).astype(int)
    reversed_once = shown(dicom(RAMP, **TWELVE, **falling)).astype(int)
    reversed_twice = shown(dicom(RAMP, **TWELVE, **falling, PhotometricInterpretation="MONOCHROME1")).astype(int)
    assert reference[0, 0] < reference[-1, -1]
    assert np.abs(reversed_once - (255 - reference)).max() <= 1
    assert np.abs(reversed_twice - reference).max() <= 1


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": 0.5, "RescaleIntercept": -300}])
def test_windows_agree_with_pydicoms(dicom, function, rescale):
    file = dicom(RAMP, **TWELVE, **rescale, WindowCenter=700, WindowWidth=900, VOILUTFunction=function)
    dataset = dcmread(io.BytesIO(file))
    low, high = (apply_modality_lut(np.array(end), dataset) for end in (0, 4095))
    windowed = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    assert np.abs(shown(file) - 255 * (windowed - low) / (high - low)).max() <= 0.5 + 1e-9


def test_the_first_of_several_windows_counts(dicom):
    first = shown(dicom(RAMP, **TWELVE, WindowCenter=500, WindowWidth=100))
    assert np.array_equal(shown(dicom(RAMP, **TWELVE, WindowCenter=[500, 2000], WindowWidth=[100, 4000])), first)


def test_a_width_that_makes_no_window_counts_as_none(dicom):
    without = shown(dicom(RAMP, **TWELVE))
    assert np.array_equal(shown(dicom(RAMP, **TWELVE, WindowCenter=500, WindowWidth=0)), without)
    assert np.array_equal(shown(dicom(RAMP, **TWELVE, WindowCenter=500)), without)


def test_a_voi_lut_is_preferred_to_a_window(dicom):
    item = lut(1000, [0, 1023, 512], 10)
    pixels = np.array([[0, 1000, 1001, 1002, 4000]], np.uint16)
    file = dicom(pixels, **TWELVE, VOILUTSequence=[item], WindowCenter=500, WindowWidth=100)
    assert shown(file).tolist() == [[0, 0, 255, 128, 128]]


@pytest.mark.parametrize("packed", [False, True])
def test_a_lut_with_eight_bit_entries_in_bytes(dicom, packed):
    entries = np.arange(4096) // 16
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 8])
    item.add_new("LUTData", "OW", entries.astype(np.uint8 if packed else "<u2").tobytes())
    assert np.array_equal(shown(dicom(RAMP, **TWELVE, VOILUTSequence=[item])).ravel(), entries)


def test_a_lut_of_65536_entries_says_zero(dicom):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [0, 0, 16])
    item.add_new("LUTData", "OW", np.arange(65535, -1, -1, dtype="<u2").tobytes())
    pixels = np.array([[0, 65535]], np.uint16)
    assert shown(dicom(pixels, VOILUTSequence=[item])).tolist() == [[255, 0]]


def test_a_modality_lut_comes_before_the_window(dicom):
    item = lut(0, [100, 0, 50], 8)
    item.ModalityLUTType = "US"
    file = dicom(np.array([[0, 1, 2]], np.uint16), **TWELVE, ModalityLUTSequence=[item], WindowCenter=50.5, WindowWidth=101)
    assert shown(file).tolist() == [[255, 0, 128]]


def test_more_bits_without_a_window_are_shown_between_percentiles(dicom):
    body = np.random.default_rng(0).integers(1000, 1500, (100, 100)).astype(np.uint16)
    body[0, :20] = 65535
    levels = shown(dicom(body))
    assert levels[0, 0] == 255
    assert (levels[1:].min(), levels[1:].max()) == (0, 255)
    assert abs(levels[1:].mean() - 127) < 3


def test_padding_is_black_and_plays_no_part(dicom):
    body = np.linspace(100, 200, 10000).reshape(100, 100).astype(np.int16)
    padded = body.copy()
    padded[:, :40] = -2000
    levels = shown(dicom(padded, PixelPaddingValue=-2000))
    assert not levels[:, :40].any()
    assert np.abs(levels[:, 40:].astype(int) - shown(dicom(body))[:, 40:]).max() <= 2
    inverted = shown(dicom(padded, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1"))
    assert not inverted[:, :40].any()


def test_padding_may_be_a_range(dicom):
    pixels = np.array([[0, 1, 2, 3, 250, 255]], np.uint8)
    assert shown(dicom(pixels, PixelPaddingValue=1, PixelPaddingRangeLimit=3)).tolist() == [[0, 0, 0, 0, 250, 255]]


def test_an_image_of_padding_only_or_of_one_value_is_dark(dicom):
    flat = np.full((4, 4), 7, np.uint16)
    assert not shown(dicom(flat, PixelPaddingValue=7)).any()
    assert not shown(dicom(flat)).any()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_depth_and_sign_gives_the_same_picture(dicom, bits, signed):
    values = (RAMP.astype(int) * 2**bits // 4096) - (2 ** (bits - 1) if signed else 0)
    file = dicom(values.astype(np.int16 if signed else np.uint16), BitsStored=bits)
    assert np.abs(shown(file).astype(int) - shown(dicom(RAMP, **TWELVE))).max() <= 1


def test_big_endian_files_read_like_little_endian_ones(dicom):
    window = {"WindowCenter": 1000, "WindowWidth": 400}
    big = dicom(RAMP.byteswap(), syntax=uid.ExplicitVRBigEndian, **TWELVE, **window)
    assert np.array_equal(shown(big), shown(dicom(RAMP, **TWELVE, **window)))


@pytest.mark.parametrize(
    ("attributes", "finding"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is 0"),
        ({"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "CUBIC"}, "'CUBIC' is none of"),
        ({"RescaleSlope": "1e999"}, "RescaleSlope is 1e999"),
    ],
)
def test_what_cannot_be_shown_is_refused(dicom, attributes, finding):
    with pytest.raises(ValueError, match=finding):
        shown(dicom(RAMP, **TWELVE, **attributes))


def test_pictures_of_16_bits_are_stretched():
    assert np.array_equal(stretch(BYTES), BYTES)
    levels = stretch((RAMP + 30000).astype(np.uint16))
    assert (levels.min(), levels.max()) == (0, 255)
    assert np.all(np.diff(levels.ravel().astype(int)) >= 0)
