"""PNG and JPEG files as grey values."""

import io

import numpy as np
from PIL import Image, ImageOps

from chestseg.dicom.source import MOST_PIXELS, Refused

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def is_picture(data: bytes) -> bool:
    """Whether `data` begins like a PNG or a JPEG file."""
    return data.startswith(_MAGIC)


def read_picture(data: bytes) -> np.ndarray:
    """Grey values as stored, (H, W), uint8 or uint16; colour files count as grey where their channels are equal.

    A JPEG's EXIF orientation is applied, as every viewer does.

    Raises:
        Refused: colour, transparency or too many pixels.
    """
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise Refused(f"{opened.height}x{opened.width} pixels are more than any radiograph has: export it at the detector's size")
        image = ImageOps.exif_transpose(opened)
        if image.mode in ("I", "I;16", "I;16B"):
            return np.asarray(image).astype(np.uint16)
        if image.mode == "1" or image.mode == "L":
            return np.array(image.convert("L"))
        if image.mode in ("LA", "PA", "RGBA") and np.asarray(image.getchannel("A")).min() < 255:
            raise Refused("transparent pixels have no grey value: save it as a greyscale PNG without transparency")
        return single_channel(np.asarray(image.convert("RGB")))


def single_channel(colour: np.ndarray) -> np.ndarray:
    """The one channel (H, W) of an image (H, W, 3) whose three channels are equal.

    Raises:
        Refused: the image has colours.
    """
    if (colour != colour[..., :1]).any():
        raise Refused("colour image: a radiograph has grey values only; export the original, or save it as greyscale if that is meant")
    return np.ascontiguousarray(colour[..., 0])
