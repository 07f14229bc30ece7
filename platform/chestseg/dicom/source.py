"""Bytes of an image and the name errors call it by, wherever the image comes from."""

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image
from pydicom.errors import BytesLengthException, InvalidDicomError

ImageFile = str | Path | bytes | BinaryIO
"""A path, the bytes of a file, or an open binary file."""

MOST_PIXELS = 2**26
"""8192x8192, four times the largest detector's image: what declares more is damaged or hostile, and is not decoded."""

DAMAGE = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, Image.DecompressionBombError, InvalidDicomError,
    LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom, Pillow and the decoders raise on damaged files, by fuzzing them."""


class Refused(ValueError):
    """A finding of ours about an image, without the file's name, which `naming` adds."""


def read_source(source: ImageFile, name: str | None = None) -> tuple[bytes, str]:
    """The file's bytes, and its name for errors: `name`, else the path, else "image".

    Raises:
        ValueError: no such file, or it cannot be read, or it is empty.
    """
    if isinstance(source, (str, Path)):
        name = name or str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ValueError(f"{name}: {error.strerror}: check the path and your right to read it") from None
    else:
        data = source if isinstance(source, bytes) else source.read()
        name = name or getattr(source, "name", None) or "image"
    if not data:
        raise ValueError(f"{name}: the file is empty (0 bytes): copy it again from where it came from")
    return data, str(name)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Turn whatever a damaged file makes the libraries raise into a ValueError of one line that begins with `name`.

    pydicom's warnings are not shown: SIIM's own files have UIDs and ages that are not valid ones, and what matters is refused here.
    """
    try:
        # Between threads the filter may outlive the block; it hides nothing but pydicom's warnings.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            yield
    except Refused as refusal:
        raise ValueError(f"{name}: {_one_line(refusal)}") from None
    except DAMAGE as error:
        raise ValueError(f"{name}: damaged image ({_one_line(error)[:200]}): export or copy it again") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
