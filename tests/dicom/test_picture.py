"""PNG and JPEG files as grey values."""

import io

import numpy as np
import pytest
from PIL import Image

from chestseg.dicom.picture import is_picture, read_picture, single_channel
from chestseg.dicom.source import Refused

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_pictures_of_every_mode_give_the_same_values(mode):
    data = encoded(Image.fromarray(GREY).convert(mode))
    assert is_picture(data)
    assert np.array_equal(read_picture(data), GREY)


def test_16_bits_and_1_bit():
    deep = GREY.astype(np.uint16) * 257
    assert np.array_equal(read_picture(encoded(Image.fromarray(deep))), deep)
    assert read_picture(encoded(Image.fromarray(GREY > 100))).tolist() == (255 * (GREY > 100)).tolist()


def test_a_jpegs_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.zeros((8, 16), np.uint8)
    assert read_picture(encoded(Image.fromarray(wide), "JPEG", exif=exif)).shape == (16, 8)


def test_colour_and_transparency_are_refused():
    colour = np.stack([GREY, GREY, GREY + 1], axis=-1)
    with pytest.raises(Refused, match="colour image"):
        read_picture(encoded(Image.fromarray(colour)))
    see_through = Image.fromarray(GREY).convert("LA")
    see_through.putalpha(100)
    with pytest.raises(Refused, match="transparent"):
        read_picture(encoded(see_through))
    assert np.array_equal(single_channel(np.stack([GREY] * 3, axis=-1)), GREY)


def test_more_pixels_than_any_detector_has_are_refused():
    with pytest.raises(Refused, match="8192x8193 pixels"):
        read_picture(encoded(Image.new("1", (8193, 8192))))


def test_a_picture_cut_short_raises():
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)))
    with pytest.raises((OSError, SyntaxError)):
        read_picture(whole[: len(whole) // 2])
