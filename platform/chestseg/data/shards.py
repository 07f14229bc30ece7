"""Shards: cases decoded together, at every prepared size, into one folder that is there whole or not at all."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.data.cases import Case, CaseSource, LeftOut
from chestseg.data.manifest import CASE
from chestseg.data.prepared import array_path, shard_folder
from chestseg.data.prepared_radiographs import HEADER
from chestseg.files import whole_folder

CASES = 64
"""Cases in a shard; the last one may have fewer. It bounds what is decoded again after a kill, not memory."""
FORMAT = 1
"""Raise it when decoding or the layout changes, so that older shards are made anew."""


@dataclass(frozen=True)
class Shard:
    """The work of decoding one shard; small enough to be sent to another process."""

    index: int
    cases: tuple[CaseSource, ...]
    sizes: tuple[int, ...]
    key: str
    """Hash of the case list, the sizes, and the size and time of change of every source file."""


def plan_shards(cases: Sequence[CaseSource], sizes: tuple[int, ...]) -> list[Shard]:
    """Cut cases, sorted by id, into shards. A source file that is missing is found out when it is read."""
    ordered = sorted(cases, key=lambda case: case.case_id)
    pieces = [tuple(ordered[start : start + CASES]) for start in range(0, len(ordered), CASES)]
    return [Shard(index, piece, sizes, _key(piece, sizes)) for index, piece in enumerate(pieces)]


def bytes_per_case(sizes: Sequence[int]) -> int:
    """What a case takes on disk: an image and a mask of each size."""
    return sum(2 * size * size for size in sizes)


def _key(cases: Sequence[CaseSource], sizes: tuple[int, ...]) -> str:
    stamps = [(dataclasses.astuple(case), _stamp(case.image), _stamp(case.mask_path)) for case in cases]
    return hashlib.sha256(json.dumps([FORMAT, sizes, stamps]).encode()).hexdigest()


def _stamp(path: str | None) -> tuple[int, int] | None:
    try:
        status = os.stat(path) if path else None
    except OSError:
        return None
    return status and (status.st_size, status.st_mtime_ns)


def write_shard(shard: Shard, prepared: Path) -> None:
    """Decode a shard's cases into its folder of `prepared`: an array of images and of masks per size, the cases' table and `done.json`.

    Arrays are uint8 of shape (n, size, size), masks 0 or 1. A case that can't be read goes to the quarantine in `done.json`
    and takes no row. One case is in memory at a time.

    Raises:
        OSError: the shard can't be written.
    """
    rows: list[dict[str, Any]] = []
    quarantine: list[LeftOut] = []
    with whole_folder(shard_folder(prepared, shard.index)) as folder:
        with contextlib.ExitStack() as files:
            images, masks = (
                {size: _Planes(files.enter_context(open(array_path(folder, kind, size), "wb")), size) for size in shard.sizes}
                for kind in ("image", "mask")
            )
            for source in shard.cases:
                try:
                    case = source.read()
                except ValueError as error:
                    quarantine.append(LeftOut(source.case_id, source.image, _reason(error, source.image), source.source))
                    continue
                rows.append(_row(source, case))
                for size in shard.sizes:
                    images[size].append(resize_image(case.pixels, size))
                    masks[size].append(resize_mask(case.mask, size))
            for planes in (*images.values(), *masks.values()):
                planes.finish()
        pq.write_table(pa.Table.from_pylist(rows, schema=CASE), folder / "rows.parquet", compression="zstd")
        done = {"key": shard.key, "cases": len(rows), "quarantine": [dataclasses.asdict(case) for case in quarantine]}
        (folder / "done.json").write_text(json.dumps(done, indent=1))


def _reason(error: ValueError, path: str) -> str:
    """The error's line without the path in front, so that equal reasons can be counted."""
    return " ".join(str(error).split()).removeprefix(f"{path}: ")


def _row(source: CaseSource, case: Case) -> dict[str, Any]:
    radiograph, area = case.radiograph, int(case.mask.sum())
    spacing = radiograph.spacing_mm or (None, None)
    return {
        "case_id": source.case_id,
        "patient_id": radiograph.patient_id,
        "source": source.source,
        "image": source.image,
        "modality": radiograph.modality,
        "view": radiograph.view,
        "sex": radiograph.sex,
        "age": radiograph.age,
        "height": case.pixels.shape[0],
        "width": case.pixels.shape[1],
        "spacing_row": spacing[0],
        "spacing_col": spacing[1],
        "positive": area > 0,
        "mask_area": area,
        "pixel_hash": _hash(case.pixels),
        "mask_hash": _hash(case.mask),
    }


def _hash(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class _Planes:
    """An .npy file of uint8 (n, size, size) that grows by a plane at a time; its header is corrected at the end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.count = file, size, 0
        self._write_header()

    def append(self, plane: np.ndarray) -> None:
        assert plane.shape == (self.size, self.size) and plane.dtype == np.uint8, (plane.shape, plane.dtype)
        self.file.write(np.ascontiguousarray(plane).data)
        self.count += 1

    def finish(self) -> None:
        self.file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        shape = (self.count, self.size, self.size)
        np.lib.format.write_array_header_1_0(self.file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert self.file.tell() == HEADER, self.file.tell()


def is_finished(shard: Shard, prepared: Path) -> bool:
    """Whether `prepared` already holds exactly this shard, every array at its full length."""
    folder = shard_folder(prepared, shard.index)
    try:
        done = json.loads((folder / "done.json").read_text())
        lengths = [(array_path(folder, kind, size).stat().st_size, size) for kind in ("image", "mask") for size in shard.sizes]
    except OSError:
        return False
    return done["key"] == shard.key and all(length == HEADER + done["cases"] * size * size for length, size in lengths)


def read_shard(shard: Shard, prepared: Path) -> tuple[pa.Table, list[LeftOut]]:
    """The table (`CASE`) of a finished shard, in the order of its arrays, and what it left out."""
    folder = shard_folder(prepared, shard.index)
    done = json.loads((folder / "done.json").read_text())
    return pq.read_table(folder / "rows.parquet"), [LeftOut(**row) for row in done["quarantine"]]
