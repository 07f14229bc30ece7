"""A sweep's journal gives back what it was told, and the records follow from it."""

import math
from pathlib import Path

import pytest

from chestseg.tuning.records import (
    Asked,
    Entry,
    Finished,
    Measured,
    Reported,
    SweepJournal,
    TrialRecord,
    best_of,
    pareto_front,
    read_journal,
    records_of,
)

ENTRIES: list[Entry] = [
    Measured("cpu 128 px", [0.25, 1 / 3]),
    Asked(0, {"stages": 2, "rate.0": 0.1 + 0.2, "encoder": "small", "frozen": None}, {"stages": {"name": "IntDistribution"}}),
    Reported(0, 40, 1.5e15, 0.5, True, 0),
    Reported(0, 80, 3.1e15, math.inf, False, 1),
    Finished(0, "pruned", (math.inf,), {"window": {"start": 3}, "loss": -math.inf}),
]


def test_reads_back_every_kind(tmp_path: Path) -> None:
    journal = SweepJournal(tmp_path / "sweep")
    for entry in ENTRIES:
        journal.append(entry)
    again = SweepJournal(tmp_path / "sweep")
    assert again.entries == journal.entries == ENTRIES
    assert [vars(entry).get("time") for entry in again.entries] == [vars(entry).get("time") for entry in ENTRIES]


def test_keeps_nan(tmp_path: Path) -> None:
    SweepJournal(tmp_path).append(Reported(0, 1, 1.0, math.nan, False, 0))
    (kept,) = SweepJournal(tmp_path).entries
    assert isinstance(kept, Reported)
    assert math.isnan(kept.value)


@pytest.mark.parametrize("left", [1, 7, 60])
def test_half_a_line_is_cut_off(tmp_path: Path, left: int) -> None:
    journal = SweepJournal(tmp_path)
    journal.append(ENTRIES[0])
    size = journal.path.stat().st_size
    journal.append(ENTRIES[1])
    with journal.path.open("r+b") as file:
        file.truncate(size + left)
    assert read_journal(journal.path) == ENTRIES[:1], "a reader leaves it"
    again = SweepJournal(tmp_path)
    assert journal.path.stat().st_size == size
    again.append(ENTRIES[1])
    assert read_journal(journal.path) == ENTRIES[:2]


@pytest.mark.parametrize("line", ["no JSON", "[1]", '{"kind": "metric"}', '{"kind": "asked", "number": 1}', "{}"])
def test_refuses_a_file_that_is_no_journal(tmp_path: Path, line: str) -> None:
    journal = SweepJournal(tmp_path)
    journal.append(ENTRIES[0])
    with journal.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"journal\.jsonl: line 2 is not of a sweep's journal .*: restore the file") as caught:
        SweepJournal(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_journal_is_no_entries(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal.jsonl") == []
    assert SweepJournal(tmp_path).entries == []


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    assert SweepJournal(tmp_path).measured("128 px", lambda: 0.1) == 0.1
    assert SweepJournal(tmp_path).measured("128 px", lambda: 0.7) == 0.1
    assert SweepJournal(tmp_path).measured("64 px", lambda: 0.7) == 0.7


def test_records_follow_from_entries() -> None:
    (record,) = records_of(ENTRIES[:3])
    assert (record.state, record.stopped, record.finished, len(record.reports)) == ("running", False, None, 1)
    (record,) = records_of(ENTRIES)
    assert (record.state, record.stopped, record.values) == ("pruned", True, (math.inf,))
    assert record.extra["window"] == {"start": 3}
    assert isinstance(ENTRIES[-1], Finished)
    assert record.finished == ENTRIES[-1].time


def complete(*points: tuple[float, ...]) -> list[TrialRecord]:
    return [TrialRecord(number, {}, {}, 0, "complete", values=point) for number, point in enumerate(points)]


def test_best_is_complete_and_the_first_of_equals() -> None:
    records = complete((0.5,), (0.75,), (0.75,), (0.25,))
    records.append(TrialRecord(4, {}, {}, 0, "pruned", values=(0.9,)))
    best, least = best_of(records), best_of(records, "minimize")
    assert best and best.number == 1
    assert least and least.number == 3
    assert best_of(records[4:]) is None


def test_the_front_is_what_nothing_beats() -> None:
    records = complete((0.5, 10.0), (0.75, 20.0), (0.7, 20.0), (0.5, 10.0), (0.4, 5.0), (0.4, 30.0))
    records.append(TrialRecord(6, {}, {}, 0, "failed"))
    assert [record.number for record in pareto_front(records, ("maximize", "minimize"))] == [0, 1, 3, 4]
