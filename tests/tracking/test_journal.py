"""The journal keeps what it was told, once, through kills and restarts."""

import math
from pathlib import Path

import pytest

from chestseg.tracking.journal import Entry, Files, Journal, Metric, Registration, Status, read_entries


def entries(journal: Journal) -> list[Entry]:
    return [entry for entry, _ in read_entries(journal.path)]


def point(step: int, value: float = 1.0, key: str = "loss", run: str = "a", time: int = 7) -> Metric:
    return Metric(run, key, value, step, time)


def test_reads_back_every_kind(tmp_path: Path) -> None:
    written: list[Entry] = [
        point(0),
        Files("a", "curves.png", None),
        Registration("a", "bundle", "cxr", {"mean_dice": "0.8"}),
        Status("a", "FINISHED", 9),
    ]
    journal = Journal(tmp_path)
    assert journal.append(written) == 4
    assert entries(journal) == written


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_keeps_what_json_has_no_word_for(tmp_path: Path, value: float) -> None:
    journal = Journal(tmp_path)
    journal.append([point(0, value)])
    assert entries(journal) == [point(0, value)]


def test_keeps_nan(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([point(0, math.nan)])
    (kept,) = entries(journal)
    assert isinstance(kept, Metric)
    assert math.isnan(kept.value)


def test_a_repeated_step_is_dropped_also_after_reopening(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.append([point(0), point(1), point(0, key="val_dice"), point(0, run="b"), point(1, 5.0, time=8)]) == 4
    again = Journal(tmp_path)
    assert again.append([point(1, 3.0, time=99), point(2)]) == 1
    assert [e.step for e in entries(again) if isinstance(e, Metric) and (e.run, e.key) == ("a", "loss")] == [0, 1, 2]
    assert again.next_step("a", "loss") == 3
    assert again.next_step("a", "unheard of") == 0


def test_a_run_ends_once_and_may_start_again(tmp_path: Path) -> None:
    Journal(tmp_path).append([Status("a", "FAILED", 1), Status("a", "FAILED", 2)])
    journal = Journal(tmp_path)
    assert journal.status("a") == "FAILED"
    assert journal.append([Status("a", "FAILED", 3), Status("a", "RUNNING", 4), Status("a", "FINISHED", 5)]) == 2
    assert journal.status("a") == "FINISHED"
    assert journal.status("b") is None


@pytest.mark.parametrize("torn", [b'{"kind": "metric", "run', b"{"])
def test_half_a_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path)
    journal.append([point(0)])
    with journal.path.open("ab") as file:
        file.write(torn)
    assert entries(journal) == [point(0)]
    journal.append([point(1)])
    Journal(tmp_path).append([point(2)])
    assert entries(journal) == [point(0), point(1), point(2)]


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([point(0), point(1)])
    (_, first), (_, second) = read_entries(journal.path)
    assert [e for e, _ in read_entries(journal.path, first)] == [point(1)]
    assert list(read_entries(journal.path, second)) == []
