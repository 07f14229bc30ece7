"""Shards: cases decoded together into one folder that is there whole or not at all. Two kinds make their arrays."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from chestseg.config import Data, RadiographData, VolumeData
from chestseg.data.cases import CaseSource, LeftOut
from chestseg.data.manifest import CASE, Row
from chestseg.data.prepared import shard_folder
from chestseg.data.radiograph_shards import RadiographShards
from chestseg.data.volume_cases import VolumeSource
from chestseg.data.volume_shards import VolumeShards
from chestseg.files import whole_folder

FORMAT = 1
"""Raise it when decoding or the layout changes, so that older shards are made anew."""


class ShardKind(Protocol):
    """How shards of one kind of data are made; small enough to be sent to another process."""

    cases: ClassVar[int]
    """Cases in a shard; the last one may have fewer. It bounds what is decoded again after a kill, not memory."""
    memory: ClassVar[int]
    """Bytes that a large case takes while it is decoded and stored."""

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the arrays besides the source files, ready for JSON; a reader of the prepared dataset finds it in its marker."""
        ...

    @property
    def bytes_per_case(self) -> int:
        """What a case takes on disk."""
        ...

    def paths(self, source: Any) -> Sequence[str | None]:
        """The files a case is read from."""
        ...

    def decode(self, source: Any) -> Any:
        """The decoded case.

        Raises:
            ValueError: one line that names the file and what is wrong with it.
        """
        ...

    def arrays(self, folder: Path) -> AbstractContextManager[Callable[[Any, Any], Row]]:
        """Arrays in `folder`: what is yielded takes a source and its decoded case, stores the case and answers its row."""
        ...

    def is_whole(self, folder: Path, cases: int) -> bool:
        """Whether every array is there in its full length, given the number of cases that were stored."""
        ...


@dataclass(frozen=True)
class Shard:
    """The work of decoding one shard; small enough to be sent to another process."""

    index: int
    cases: tuple[CaseSource | VolumeSource, ...]
    kind: ShardKind
    key: str
    """Hash of the case list, the settings, and the size and time of change of every source file."""


class CaseNote(NamedTuple):
    """What was repaired, converted or passed over while a case was read; the same note is worded the same."""

    source: str
    case_id: str
    note: str


class ShardContent(NamedTuple):
    """What a finished shard says of its cases."""

    table: pa.Table
    """`CASE`, in the order of the arrays."""
    quarantine: list[LeftOut]
    notes: list[CaseNote]


def kind_of(data: Data) -> ShardKind:
    """How the shards of `data` are made."""
    match data:
        case RadiographData():
            return RadiographShards(data.sizes)
        case VolumeData():
            return VolumeShards(data)
    raise AssertionError(type(data))


def plan_shards(cases: Sequence[CaseSource | VolumeSource], data: Data) -> list[Shard]:
    """Cut cases, sorted by id, into shards. A source file that is missing is found out when it is read."""
    kind, ordered = kind_of(data), sorted(cases, key=lambda case: case.case_id)
    pieces = [tuple(ordered[start : start + kind.cases]) for start in range(0, len(ordered), kind.cases)]
    return [Shard(index, piece, kind, _key(piece, kind)) for index, piece in enumerate(pieces)]


def _key(cases: Sequence[CaseSource | VolumeSource], kind: ShardKind) -> str:
    stamps = [(dataclasses.astuple(case), *map(_stamp, kind.paths(case))) for case in cases]
    return hashlib.sha256(json.dumps([FORMAT, *kind.settings.values(), stamps]).encode()).hexdigest()


def _stamp(path: str | None) -> tuple[int, int] | None:
    try:
        status = os.stat(path) if path else None
    except OSError:
        return None
    return status and (status.st_size, status.st_mtime_ns)


def write_shard(shard: Shard, prepared: Path) -> None:
    """Decode a shard's cases into its folder of `prepared`: arrays, the cases' table and `done.json`.

    A case that can't be read goes to the quarantine in `done.json` and takes no row. One case is in memory at a time.

    Raises:
        OSError: the shard can't be written.
    """
    rows: list[Row] = []
    quarantine: list[LeftOut] = []
    with whole_folder(shard_folder(prepared, shard.index)) as folder:
        with shard.kind.arrays(folder) as store:
            for source in shard.cases:
                try:
                    case = shard.kind.decode(source)
                except ValueError as error:
                    quarantine.append(LeftOut(source.case_id, source.image, _reason(error, source.image), source.source))
                    continue
                rows.append(store(source, case))
        pq.write_table(pa.Table.from_pylist(rows, schema=CASE), folder / "rows.parquet", compression="zstd")
        done = {"key": shard.key, "cases": len(rows), "quarantine": [dataclasses.asdict(case) for case in quarantine]}
        if notes := [CaseNote(row["source"], row["case_id"], note) for row in rows for note in row.get("notes", ())]:
            done["notes"] = notes
        (folder / "done.json").write_text(json.dumps(done, indent=1))


def _reason(error: ValueError, path: str) -> str:
    """The error's line without the path in front, so that equal reasons can be counted."""
    return " ".join(str(error).split()).removeprefix(f"{path}: ")


def is_finished(shard: Shard, prepared: Path, *, arrays: bool = True) -> bool:
    """Whether `prepared` already holds exactly this shard, and, unless they lie elsewhere, every array at its full length."""
    folder = shard_folder(prepared, shard.index)
    try:
        done = json.loads((folder / "done.json").read_text())
    except OSError:
        return False
    return done["key"] == shard.key and (not arrays or shard.kind.is_whole(folder, done["cases"]))


def read_shard(shard: Shard, prepared: Path) -> ShardContent:
    """What a finished shard holds and what it left out."""
    folder = shard_folder(prepared, shard.index)
    done = json.loads((folder / "done.json").read_text())
    # With the schema, what an earlier version wrote lacks no column.
    table = pq.read_table(folder / "rows.parquet", schema=CASE)
    return ShardContent(table, [LeftOut(**row) for row in done["quarantine"]], [CaseNote(*note) for note in done.get("notes", ())])
