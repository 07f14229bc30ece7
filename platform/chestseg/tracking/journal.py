"""What a run has to say to MLflow, kept on disk first: an append-only file that outlives outages and kills.

One process writes it at a time: rank 0 while it trains, the driver before and after. Anybody may read it.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from chestseg.json_lines import append_lines, cut_torn_line, read_lines

FILE = "journal.jsonl"

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Metric:
    """One point of a curve. MLflow knows a point by all of it, time included: sent twice with the same time it is one point."""

    run: str
    key: str
    value: float
    step: int
    time: int
    """Milliseconds since 1970, of when it was measured."""


@dataclass(frozen=True)
class Files:
    """A file, or a folder's content, that belongs under `target` of a run's artifacts."""

    run: str
    source: str
    """Relative to the run's folder where it lies in it, so the folder may be moved before it is sent."""
    target: str | None


@dataclass(frozen=True)
class Status:
    """A run starts again or ends."""

    run: str
    status: RunStatus
    time: int


@dataclass(frozen=True)
class Registration:
    """A bundle to register as the candidate version of a model."""

    run: str
    bundle: str
    """As `Files.source`."""
    model: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Opening:
    """A run to be made as soon as MLflow can be reached; until then, and in the journal for good, it is known by a key of ours."""

    run: str
    """The key."""
    name: str
    parent: str | None
    """Key of the run it lies under."""
    tags: dict[str, str]
    parameters: dict[str, str]
    time: int


@dataclass(frozen=True)
class Tags:
    """Tags of a run that change or come later."""

    run: str
    tags: dict[str, str]


Entry = Metric | Files | Status | Registration | Opening | Tags
KINDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in (Metric, Files, Status, Registration, Opening, Tags)}


class Journal:
    """The writing end. Opening it reads what it holds, so that a resumed run does not say the same thing twice."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._points: set[tuple[str, str, int]] = set()
        self._steps: dict[tuple[str, str], int] = {}
        self._status: dict[str, RunStatus] = {}
        self._tags: dict[str, dict[str, str]] = {}
        cut_torn_line(self.path)
        for entry, _ in read_entries(self.path):
            self._take(entry)

    def append(self, entries: Iterable[Entry]) -> int:
        """Write entries that are new, all of them synced to disk on return, and say how many those are.

        A point is dropped where its run, key and step are held already (training that resumes repeats steps, at other times); a
        status where it is the run's last one; a run's second opening; tags that hold already.
        """
        with self._lock:
            fresh = [entry for entry in entries if self._take(entry)]
            if fresh:
                append_lines(self.path, map(_encode, fresh))
        return len(fresh)

    def status(self, run: str) -> RunStatus | None:
        """The last status of a run, None before the first."""
        return self._status.get(run)

    def next_step(self, run: str, key: str) -> int:
        """The step after the last one held of a curve; 0 where there is none."""
        return self._steps.get((run, key), -1) + 1

    def _take(self, entry: Entry) -> bool:
        if isinstance(entry, Metric):
            point = (entry.run, entry.key, entry.step)
            if point in self._points:
                return False
            self._points.add(point)
            self._steps[point[:2]] = max(entry.step, self._steps.get(point[:2], entry.step))
        elif isinstance(entry, Status):
            if self._status.get(entry.run) == entry.status:
                return False
            self._status[entry.run] = entry.status
        elif isinstance(entry, Opening):
            if entry.run in self._tags:
                return False
            self._tags[entry.run] = dict(entry.tags)
        elif isinstance(entry, Tags):
            held = self._tags.setdefault(entry.run, {})
            if entry.tags.items() <= held.items():
                return False
            held.update(entry.tags)
        return True


def read_entries(path: Path, offset: int = 0) -> Iterator[tuple[Entry, int]]:
    """Whole entries from byte `offset` on, each with the offset after it; a line still being written is left for later."""
    for fields, end in read_lines(path, offset):
        yield _decode(fields), end


def _encode(entry: Entry) -> dict[str, Any]:
    fields = asdict(entry)
    if isinstance(entry, Metric) and not math.isfinite(entry.value):
        fields["value"] = str(entry.value)  # JSON knows no NaN
    return {"kind": type(entry).__name__.lower(), **fields}


def _decode(fields: dict[str, Any]) -> Entry:
    kind = KINDS[fields.pop("kind")]
    if kind is Metric:
        fields["value"] = float(fields["value"])
    return kind(**fields)
