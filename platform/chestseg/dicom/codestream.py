"""Compressed frames, JPEG in its four DICOM forms, JPEG-LS and JPEG 2000, to arrays (PS3.5 section 8.2).

One library of maintained decoders (libjpeg-turbo, CharLS, OpenJPEG). pydicom's first choice would be GDCM, which ends the whole process
on some damaged streams.
"""

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
from pydicom import uid

from chestseg.dicom.source import Refused

_DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    uid.JPEGBaseline8Bit: imagecodecs.jpeg8_decode,
    uid.JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    uid.JPEGLossless: imagecodecs.jpeg8_decode,
    uid.JPEGLosslessSV1: imagecodecs.jpeg8_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
}

_NO_LENGTH = {0x01, *range(0xD0, 0xDA)}
_START_OF_FRAME = {0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def can_decode(syntax: uid.UID) -> bool:
    """Whether frames of this transfer syntax are decoded here."""
    return syntax in _DECODERS


def decode(stream: bytes, syntax: uid.UID, shape: tuple[int, int]) -> np.ndarray:
    """Decode one frame.

    Args:
        stream: the compressed frame.
        syntax: transfer syntax for which `can_decode`.
        shape: (rows, columns) the data set declares.

    Returns:
        (H, W) or (H, W, 3) of the integer type in which the stream has its values.

    Raises:
        Refused: the stream is damaged, cut short or of another shape.
    """
    found = _shape(stream)
    # Asked before decoding: a damaged size can keep a decoder busy for minutes.
    if found is not None and found != shape:
        raise Refused(f"declares {shape[0]}x{shape[1]} pixels and holds {found[0]}x{found[1]}: export it again")
    # libjpeg fills what a cut stream lacks with grey and says nothing.
    if found is None or b"\xff\xd9" not in stream:
        raise Refused(f"its {syntax.name} pixel data is cut short: copy or export it again")
    try:
        return np.ascontiguousarray(_DECODERS[syntax](stream))
    except RuntimeError:
        raise Refused(f"its {syntax.name} pixel data cannot be decoded: it is damaged, copy or export it again") from None


def _shape(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns in the header of a JPEG or JPEG-LS (SOF segment) or JPEG 2000 (SIZ segment) stream."""
    size = stream.find(b"\xff\x4f\xff\x51")
    if size >= 0 and not stream.startswith(b"\xff\xd8"):
        right, bottom, left, top = struct.unpack_from(">8x4I", stream, size)
        return bottom - top, right - left
    place = 0
    while place + 9 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _START_OF_FRAME:
            return struct.unpack_from(">HH", stream, place + 5)
        fill = marker == 0xFF
        place += 1 if fill else 2 if marker in _NO_LENGTH else 2 + struct.unpack_from(">H", stream, place + 2)[0]
    return None
