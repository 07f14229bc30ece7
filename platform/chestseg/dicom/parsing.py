"""Parsing of DICOM files from anywhere: a hostile one ends after a bounded number of elements."""

import io
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import FileDataset

from chestseg.dicom.source import Refused

MOST_READS = 500_000
"""pydicom reads two or three times an element; an enhanced image of 2,000 frames takes half of this."""
PREAMBLE = 128
FIRST_GROUPS = (0x0002, 0x0008)
"""What a file without a preamble begins with: file meta information, or the data set itself."""


class _Bounded:
    """Before a file's class: reading it ends when it was read from too often. 8 MB of zeros are a million elements, and a minute's work."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As the file reads.

        Raises:
            Refused: too often.
        """
        self._reads += 1
        if self._reads > MOST_READS:
            raise Refused("more data elements than any image has: it is damaged, export or copy it again")
        return super().read(size)  # type: ignore[misc]


class _Bytes(_Bounded, io.BytesIO):
    """A file in memory."""


class _File(_Bounded, io.BufferedReader):
    """A file on disk."""


def parse(source: bytes | Path, **options: Any) -> FileDataset:
    """A file's data set, with or without preamble and file meta information; empty where it does not begin as DICOM files do.

    Args:
        source: the file, or where it is.
        options: of pydicom's `dcmread`.

    Raises:
        Refused: more elements than any image has.
        Exception: what `source.DAMAGE` lists, where the file is damaged.
    """
    with _Bytes(source) if isinstance(source, bytes) else _File(io.FileIO(str(source))) as file:
        start = file.read(PREAMBLE + 4)
        file.seek(0)
        return dcmread(file, force=True, **options) if _begins(start) else FileDataset("", {})


def _begins(start: bytes) -> bool:
    orders = (int.from_bytes(start[:2], "little"), int.from_bytes(start[:2], "big"))
    return start[PREAMBLE:] == b"DICM" or any(group in FIRST_GROUPS for group in orders)
