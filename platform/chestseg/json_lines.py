"""Append-only files of JSON lines that outlive kills: what is appended is on disk on return, and a torn last line is cut."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def append_lines(path: Path, objects: Iterable[dict[str, Any]]) -> None:
    """Write objects, each as a line, behind what the file holds; synced to disk on return. One process does this at a time.

    Raises:
        OSError: the disk is full, or the file can't be written; names it.
    """
    cut_torn_line(path)
    lines = b"".join(json.dumps(fields).encode() + b"\n" for fields in objects)
    try:
        with path.open("ab", buffering=0) as file:
            while lines:
                lines = lines[file.write(lines) :]
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_lines(path: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Whole lines from byte `offset` on, each with the offset after it; a line still being written is left for later.

    Raises:
        ValueError: a line is none of those that `append_lines` writes.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield json.loads(line), offset


def cut_torn_line(path: Path) -> None:
    """Make the file where there is none. A kill or a full disk leaves half a line, which the next one must not continue."""
    path.touch()
    if _ends_torn(path):
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
