"""Trials are compared at equal compute, and the order of the reports decides."""

import math
import random

import pytest

from chestseg.tuning.asha import Rungs
from chestseg.tuning.records import Direction, Reported


def feed(rungs: Rungs, reports: list[tuple[int, float, float]]) -> list[tuple[bool, int | None]]:
    """Decisions on (number, compute, value), in order."""
    told: list[Reported] = []
    for step, (number, compute, value) in enumerate(reports):
        decision = rungs.decide([report for report in told if report.number == number], compute, value)
        told.append(Reported(number, step, compute, value, *decision))
        rungs.add(told[-1])
    return [(report.goes_on, report.rung) for report in told]


def test_a_trial_counts_with_its_first_report_at_or_past_a_rung() -> None:
    reports = [(0, 0.5, 0.9), (0, 1.5, 0.2), (0, 2.0, 0.9), (0, 3.0, 0.8), (0, 4.0, 0.1)]
    assert feed(Rungs((1.0, 3.0), 3), reports) == [(True, None), (True, 0), (True, None), (True, 1), (True, None)]


def test_schedules_with_other_steps_meet_at_equal_compute() -> None:
    many_small, few_large = [(0, 0.25 * i, 0.1 * i) for i in range(1, 5)], [(1, 1.0, 0.3)]
    assert feed(Rungs((1.0,), 2), many_small + few_large)[-2:] == [(True, 0), (False, 0)]


def test_past_several_rungs_the_highest_counts() -> None:
    decisions = feed(Rungs((1.0, 3.0), 3), [(0, 3.5, 0.5), (1, 1.0, 0.1), (1, 3.0, 0.4)])
    assert decisions == [(True, 1), (True, 0), (False, 1)]


@pytest.mark.parametrize(("count", "going_on"), [(1, 1), (2, 1), (3, 1), (5, 1), (6, 2), (9, 3), (10, 3)])
def test_the_best_third_of_those_so_far_goes_on(count: int, going_on: int) -> None:
    rungs = Rungs((1.0,), 3)
    for place in range(count - 1):
        rungs.add(Reported(place, 0, 1.0, 0.1 * (count - place), True, 0))
    scores = sorted((0.1 * (count - place) for place in range(count - 1)), reverse=True)
    for place in range(count):
        above = scores[place - 1] if place else 2.0
        assert rungs.decide([], 1.0, above - 0.01)[0] == (place < going_on), f"place {place}"


def test_equals_of_the_last_one_that_goes_on_go_on() -> None:
    assert [goes_on for goes_on, _ in feed(Rungs((1.0,), 3), [(n, 1.0, 0.0) for n in range(7)])] == [True] * 7
    assert feed(Rungs((1.0,), 3), [(0, 1.0, 0.5), (1, 1.0, 0.0), (2, 1.0, 0.5)]) == [(True, 0), (False, 0), (True, 0)]


def test_nan_stops_at_a_rung_and_counts_as_worst() -> None:
    decisions = feed(Rungs((1.0,), 2), [(0, 0.5, math.nan), (0, 1.0, math.nan), (1, 1.0, -5.0), (2, 1.0, math.nan), (3, 1.0, -6.0)])
    assert decisions == [(True, None), (False, 0), (True, 0), (False, 0), (True, 0)]


def test_a_loss_is_better_when_it_is_small() -> None:
    assert feed(Rungs((1.0,), 2, "minimize"), [(0, 1.0, 0.5), (1, 1.0, 0.6), (2, 1.0, 0.4), (3, 1.0, math.nan)]) == [
        (True, 0),
        (False, 0),
        (True, 0),
        (False, 0),
    ]


def test_rounding_misses_no_rung() -> None:
    assert feed(Rungs((0.3,), 2), [(0, 0.1 * 3 - 1e-12, 0.5)]) == [(True, 0)]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_replayed_reports_leave_the_same_rungs(direction: Direction) -> None:
    draw = random.Random(3)
    reports = [(number, 0.7 * (epoch + 1), draw.choice([draw.random(), math.nan, 0.5])) for epoch in range(5) for number in range(20)]
    whole = Rungs((1.0, 3.0), 3, direction)
    told: list[Reported] = []
    for step, (number, compute, value) in enumerate(reports):
        earlier = [report for report in told if report.number == number]
        again = Rungs((1.0, 3.0), 3, direction)
        for report in told:
            again.add(report)
        decision = whole.decide(earlier, compute, value)
        assert again.decide(earlier, compute, value) == decision
        told.append(Reported(number, step, compute, value, *decision))
        whole.add(told[-1])
    assert {report.goes_on for report in told} == {True, False}
