"""A sweep that is killed goes on as if nothing had happened."""

import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from chestseg.tuning.conductor import Conductor
from chestseg.tuning.records import Reported, SweepJournal, TrialRecord, best_of, pareto_front, read_journal, records_of
from chestseg.tuning.sampler import Kind, Sampler
from tests.tuning.simulated import MARKS, REDUCTION, TRIALS, conditional, conductor, run_to_the_end, timeless

KINDS: tuple[Kind, ...] = ("tpe", "random", "cmaes")


@pytest.mark.parametrize("kind", KINDS)
def test_killed_a_trial_at_a_time_it_is_the_sweep_never_killed(tmp_path: Path, kind: Kind) -> None:
    for seed in range(2):
        whole, _ = run_to_the_end(tmp_path / f"whole-{seed}", kind, seed)
        moments = random.Random(seed)
        killed, kills = run_to_the_end(tmp_path / f"killed-{seed}", kind, seed, lives=lambda moments=moments: moments.randint(1, 4))
        assert kills > 25
        assert timeless(killed) == timeless(whole)
        assert timeless(records_of(read_journal(tmp_path / f"killed-{seed}" / "journal.jsonl"))) == timeless(whole)
        best, best_whole = best_of(killed), best_of(whole)
        assert best and best_whole and best.params == best_whole.params
        assert {"complete", "pruned", "failed"} == {record.state for record in whole}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_with_several_at_a_time_nothing_is_lost_or_doubled(tmp_path: Path, kind: Kind) -> None:
    for seed in range(2):
        folder = tmp_path / str(seed)
        moments = random.Random(seed)
        records, kills = run_to_the_end(folder, kind, seed, at_once=4, lives=lambda moments=moments: moments.randint(3, 9))
        assert kills > 10
        assert [record.number for record in records] == list(range(TRIALS))
        assert all(record.state != "running" for record in records)
        entries = read_journal(folder / "journal.jsonl")
        told = Counter((type(e).__name__, e.number, e.step if isinstance(e, Reported) else 0) for e in entries)  # type: ignore[union-attr]
        assert set(told.values()) == {1}
        assert_decisions_follow([entry for entry in entries if isinstance(entry, Reported)])
        for record in records:
            assert record.stopped == (record.state == "pruned")


def assert_decisions_follow(reports: list[Reported]) -> None:
    """Every decision, worked out again from the definition and the reports before it."""
    at_rung: list[list[float]] = [[] for _ in MARKS]
    came_to: dict[int, int] = {}
    for report in reports:
        rung = sum(mark <= report.compute for mark in MARKS) - 1
        if rung <= came_to.get(report.number, -1):
            assert (report.rung, report.goes_on) == (None, True)
            continue
        came_to[report.number] = rung
        at_rung[rung].append(-math.inf if math.isnan(report.value) else report.value)
        better = sum(other > report.value for other in at_rung[rung])
        goes_on = not math.isnan(report.value) and better < max(1, len(at_rung[rung]) // REDUCTION)
        assert (report.rung, report.goes_on) == (rung, goes_on)


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_trial_is_the_same_from_the_journal_as_live_with_others_running(tmp_path: Path, kind: Kind) -> None:
    live = conductor(SweepJournal(tmp_path / "live"), kind, seed=5)
    for number in range(14):
        trial = live.next()
        assert trial
        if number % 4:  # every fourth stays running
            live.finish(number, "complete", [trial.params["rate.0"]])
    journal = (tmp_path / "live" / "journal.jsonl").read_bytes()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "journal.jsonl").write_bytes(journal)
    again = conductor(SweepJournal(tmp_path / "again"), kind, seed=5)
    handed_out = [trial.number for trial in (again.next() for _ in range(4)) if trial]
    assert handed_out == [0, 4, 8, 12]
    for _ in range(3):
        assert again.next() == live.next()


def test_a_step_told_again_gets_its_answer_and_is_not_counted(tmp_path: Path) -> None:
    first = conductor(SweepJournal(tmp_path), "random", seed=1)
    assert first.next()
    assert first.next()
    assert first.report(0, step=1, compute=1.2, value=0.5)
    assert first.report(0, step=1, compute=1.2, value=0.1)
    assert not first.report(1, step=1, compute=1.2, value=0.4)
    assert not first.report(1, step=2, compute=2.4, value=0.9), "it was told to stop"
    assert [len(record.reports) for record in first.records()] == [1, 1]
    again = conductor(SweepJournal(tmp_path), "random", seed=1)
    assert again.report(0, step=1, compute=1.2, value=0.5)
    assert not again.report(1, step=1, compute=1.2, value=0.4)
    assert sum(isinstance(entry, Reported) for entry in read_journal(tmp_path / "journal.jsonl")) == 2


def test_a_trial_told_to_stop_before_a_kill_is_not_started_again(tmp_path: Path) -> None:
    first = conductor(SweepJournal(tmp_path), "random", seed=1, trials=3)
    first.next()
    first.next()
    first.report(0, 1, 1.0, 0.5)
    first.report(1, 1, 1.0, 0.4)
    again = conductor(SweepJournal(tmp_path), "random", seed=1, trials=3)
    record = again.records()[1]
    assert (record.state, record.values) == ("pruned", (0.4,))
    assert [trial and trial.number for trial in (again.next(), again.next(), again.next())] == [0, 2, None]


def test_a_trial_ends_once(tmp_path: Path) -> None:
    conducted = conductor(SweepJournal(tmp_path), "random", seed=1)
    conducted.next()
    conducted.finish(0, "complete", [0.7], {"seconds": 3.5})
    conducted.finish(0, "failed", extra={"reason": "late"})
    record = conducted.records()[0]
    assert (record.state, record.values, record.extra) == ("complete", (0.7,), {"seconds": 3.5})
    assert not conducted.report(0, 9, 4.0, 0.9)
    assert len(read_journal(tmp_path / "journal.jsonl")) == 2


def test_told_to_stop_is_pruned_whatever_came_after(tmp_path: Path) -> None:
    conducted = conductor(SweepJournal(tmp_path), "random", seed=1)
    for number, value in enumerate((0.5, 0.3, math.nan)):
        conducted.next()
        conducted.report(number, 1, 1.0, value)
    conducted.finish(1, "complete", [0.9])
    conducted.finish(2, "failed", extra={"reason": "it was just being stopped"})
    first, second, third = conducted.records()
    assert first.state == "running"
    assert (second.state, second.values) == ("pruned", (0.3,))
    assert third.state == "pruned"
    assert math.isnan(third.values[0])


@pytest.mark.parametrize("values", [(), (math.nan,)])
def test_complete_without_a_value_is_failed(tmp_path: Path, values: tuple[float, ...]) -> None:
    conducted = conductor(SweepJournal(tmp_path), "tpe", seed=1)
    conducted.next()
    conducted.finish(0, "complete", values)
    (record,) = conducted.records()
    assert (record.state, record.values) == ("failed", ())
    assert "the trial ended with" in record.extra["reason"]


def two_objectives(folder: Path, trials: int) -> list[TrialRecord]:
    sampler = Sampler("tpe", 3, conditional, directions=("maximize", "minimize"))
    conducted = Conductor(SweepJournal(folder), sampler, None, trials)
    while trial := conducted.next():
        slow = 2.0 if trial.params["encoder"] == "large" else 1.0
        assert conducted.report(trial.number, 0, 4.0, 0.0), "nothing stops early"
        conducted.finish(trial.number, "complete", [slow * trial.params["rate.0"], slow * trial.params["stages"]])
    return conducted.records()


def test_two_objectives_have_a_front(tmp_path: Path) -> None:
    whole = two_objectives(tmp_path / "whole", 16)
    two_objectives(tmp_path / "parts", 12)
    assert timeless(two_objectives(tmp_path / "parts", 16)) == timeless(whole)
    front = pareto_front(whole, ("maximize", "minimize"))
    points = sorted(record.values for record in front)
    assert front
    assert all(a[1] < b[1] for a, b in pairwise(points)), "more of the one costs more of the other"
    assert best_of(whole) in front
