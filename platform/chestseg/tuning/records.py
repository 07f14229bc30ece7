"""What a sweep knows: an append-only journal, and the record of every trial that follows from it.

The driver alone writes it. Everything else that shows a sweep (Optuna's storage, MLflow, the report) is told from it.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from chestseg.json_lines import append_lines, cut_torn_line, read_lines

FILE = "journal.jsonl"

State = Literal["running", "complete", "pruned", "failed"]
Direction = Literal["maximize", "minimize"]


def milliseconds() -> int:
    """Now, since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Asked:
    """A new trial and the point of the space that it tries."""

    number: int
    params: dict[str, Any]
    distributions: dict[str, Any]
    """What each parameter was drawn from: Optuna's JSON, parsed."""
    time: int = field(default_factory=milliseconds, compare=False)


@dataclass(frozen=True)
class Reported:
    """What a trial's metric was after some of its compute, and what was decided."""

    number: int
    step: int
    compute: float
    """In the budget's unit, since the trial's start."""
    value: float
    goes_on: bool
    rung: int | None
    """The rung it was compared at, None where it has not come to a new one."""
    time: int = field(default_factory=milliseconds, compare=False)


@dataclass(frozen=True)
class Finished:
    """A trial's end, of which there is one."""

    number: int
    state: State
    values: tuple[float, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    time: int = field(default_factory=milliseconds, compare=False)


@dataclass(frozen=True)
class Measured:
    """Something that later starts must plan with as this one did, such as the seconds of a training step."""

    key: str
    value: Any


Entry = Asked | Reported | Finished | Measured
KINDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in (Asked, Reported, Finished, Measured)}


@dataclass
class TrialRecord:
    """All that is known of a trial."""

    number: int
    params: dict[str, Any]
    distributions: dict[str, Any]
    asked: int
    """Milliseconds since 1970."""
    state: State = "running"
    reports: list[Reported] = field(default_factory=list)
    values: tuple[float, ...] = ()
    """The objectives at the end; of a stopped trial its last reported value; of a failed one nothing."""
    extra: dict[str, Any] = field(default_factory=dict)
    finished: int | None = None

    @property
    def stopped(self) -> bool:
        """Whether a report was answered with a stop; no report is taken after it."""
        return bool(self.reports) and not self.reports[-1].goes_on


class SweepJournal:
    """The journal of the sweep in `folder`, made where there is none. `entries` holds what is on disk, in its order."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        cut_torn_line(self.path)
        self.entries = read_journal(self.path)

    def append(self, entry: Entry) -> None:
        """Write an entry, synced to disk on return."""
        append_lines(self.path, [{"kind": type(entry).__name__.lower(), **asdict(entry)}])
        self.entries.append(entry)

    def measured(self, key: str, measure: Callable[[], Any]) -> Any:
        """What an earlier start measured under `key`, else what `measure` gives now (anything that JSON can hold), kept."""
        for entry in self.entries:
            if isinstance(entry, Measured) and entry.key == key:
                return entry.value
        value = measure()
        self.append(Measured(key, value))
        return value


def read_journal(path: Path) -> list[Entry]:
    """All whole entries, for whoever only reads.

    Raises:
        ValueError: it holds a line that no sweep writes.
    """
    entries: list[Entry] = []
    try:
        for fields, _ in read_lines(path):
            kind = KINDS[fields.pop("kind")]
            if kind is Finished:
                fields["values"] = tuple(fields["values"])
            entries.append(kind(**fields))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: line {len(entries) + 1} is not of a sweep's journal ({error}): restore the file or remove the folder to start again"
        ) from None
    return entries


def take(records: dict[int, TrialRecord], entry: Entry) -> None:
    """Bring records, by number, to the state after an entry."""
    match entry:
        case Asked():
            records[entry.number] = TrialRecord(entry.number, entry.params, entry.distributions, entry.time)
        case Reported():
            records[entry.number].reports.append(entry)
        case Finished():
            record = records[entry.number]
            record.state, record.values, record.extra, record.finished = entry.state, entry.values, entry.extra, entry.time


def records_of(entries: Iterable[Entry]) -> list[TrialRecord]:
    """The trials that a journal tells of, by number."""
    records: dict[int, TrialRecord] = {}
    for entry in entries:
        take(records, entry)
    return list(records.values())


def best_of(records: Iterable[TrialRecord], direction: Direction = "maximize") -> TrialRecord | None:
    """The complete trial with the best first value, the earliest of equals; None where none is complete."""
    sign = _sign(direction)
    complete = [record for record in records if record.state == "complete"]
    return max(complete, key=lambda record: (sign * record.values[0], -record.number), default=None)


def pareto_front(records: Iterable[TrialRecord], directions: Sequence[Direction]) -> list[TrialRecord]:
    """The complete trials that no other one beats in a value without losing in another, by number. Equal ones all count."""
    signs = [_sign(direction) for direction in directions]
    complete = [record for record in records if record.state == "complete"]
    points = [tuple(sign * value for sign, value in zip(signs, record.values, strict=True)) for record in complete]
    return [
        record
        for record, point in zip(complete, points, strict=True)
        if not any(other != point and all(map(float.__ge__, other, point)) for other in points)
    ]


def _sign(direction: Direction) -> float:
    return 1.0 if direction == "maximize" else -1.0
