"""SIIM-ACR's table of masks: which file it is, and its rows."""

import csv
import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from chestseg.arrays.rle import EMPTY

NAMES = ("stage_2_train.csv", "train-rle.csv")
"""As published, in the order of preference: stage 2's holds stage 1's."""
COLUMNS = ("ImageId", "EncodedPixels")


class Row(NamedTuple):
    """One row: its run-length code without surrounding spaces, and its line in the table."""

    code: str
    line: int


def find_table(folder: Path) -> Path:
    """The table in `folder`, gzipped or not: one of the published names, else the only `train-rle*.csv`.

    Raises:
        ValueError: there is none, or several of which none has a published name.
    """
    for name in NAMES:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    others = sorted([*folder.glob("train-rle*.csv"), *folder.glob("train-rle*.csv.gz")])
    if not others:
        raise ValueError(f"{folder}: no table of masks: put train-rle.csv or stage_2_train.csv of SIIM-ACR there")
    if len(others) > 1:
        raise ValueError(f"{folder}: {others[0].name} and {others[1].name} could both be the table: call the right one train-rle.csv")
    return others[0]


def read_table(path: Path) -> dict[str, list[Row]]:
    """Rows by image id, in the order of the table. Header and values may have spaces around them, as they were published.

    Raises:
        ValueError: one line that names the file, and the line where there is one: not readable, other columns, an empty field, or
            rows of an image that repeat or contradict each other.
    """
    try:
        rows = _group(path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise ValueError(f"{path}: not a readable table ({error}): copy it again from the archive") from None
    for image_id, its in rows.items():
        codes = [row.code for row in its]
        if len(set(codes)) < len(codes) or (EMPTY in codes and len(codes) > 1):
            lines = ", ".join(str(row.line) for row in its)
            raise ValueError(f"{path}: lines {lines} repeat or contradict each other about {image_id}: keep the right ones")
    return rows


def _group(path: Path) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for image_id, code, line in _fields(path):
        if not image_id or not code:
            raise ValueError(f"{path}: line {line} has no {COLUMNS[bool(image_id)]}: complete it (-1 means no mask)")
        rows[image_id].append(Row(code, line))
    return dict(rows)


def _fields(path: Path) -> Iterator[tuple[str, str, int]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        if not set(COLUMNS) <= set(header):
            raise ValueError(f"{path}: its columns are {', '.join(header)!r}: {' and '.join(COLUMNS)} are needed")
        for fields in reader:
            if fields:
                values = dict(zip(header, (field.strip() for field in fields), strict=False))
                yield values.get(COLUMNS[0], ""), values.get(COLUMNS[1], ""), reader.line_num
