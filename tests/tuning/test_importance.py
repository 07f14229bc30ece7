"""Importance finds what decided, and says of the rest that it may be chance."""

import numpy as np

from chestseg.tuning.importance import importance, standing
from chestseg.tuning.records import Reported, State, TrialRecord
from tests.tuning.drawn import told


def record(number: int, value: float, state: State = "complete", rung: int | None = None, **params: object) -> TrialRecord:
    reports = [] if rung is None else [Reported(number, 1, 1.0, value, state == "complete", rung)]
    return TrialRecord(number, dict(params), told(params), 0, state, reports, (value,) if state != "failed" else ())


def test_a_stopped_trial_stands_below_those_that_came_further():
    records = [
        record(0, 0.3), record(1, 0.9, "pruned", rung=0), record(2, 0.5, "pruned", rung=1), record(3, 0.6, "pruned", rung=1),
        record(4, 0.0, "failed"), record(5, 0.3), record(6, float("nan"), "pruned", rung=0),
    ]  # fmt: skip
    places = standing(records)
    assert sorted(places, key=lambda number: (places[number], number)) == [6, 1, 2, 3, 0, 5]
    assert places[0] == places[5]
    assert 4 not in places


def test_lower_may_be_better():
    records = [record(0, 0.3), record(1, 0.2)]
    assert standing(records, lower_is_better=True) == {0: 0.0, 1: 1.0}


def test_what_decides_is_above_chance_and_the_rest_is_not():
    draw = np.random.default_rng(0)
    records = []
    for number in range(60):
        rate, other = float(10 ** draw.uniform(-4, -2)), float(draw.uniform())
        params = {"rate": rate, "other": other, "stages": int(draw.integers(1, 3))}
        if params["stages"] == 2:
            params["share"] = float(draw.uniform(0.2, 0.8))
        records.append(record(number, -abs(np.log10(rate) + 3), **params))
    found = {one.name: one for one in importance(records, standing(records))}
    assert next(iter(found)) == "rate"
    assert found["rate"].share > 0.5
    assert found["rate"].share > found["rate"].chance
    assert all(found[name].share <= found[name].chance for name in ("other", "share"))
    assert 0 < found["share"].trials < 60 == found["rate"].trials
    assert abs(sum(one.share for one in found.values()) - 1) < 1e-9


def test_the_same_records_give_the_same_answer_and_a_constant_counts_nothing():
    records = [record(number, number / 20, rate=10 ** (-4 + number / 10), fixed="a") for number in range(20)]
    found = importance(records, standing(records))
    assert found == importance(records, standing(records))
    assert next(one for one in found if one.name == "fixed").share == 0


def test_few_trials_say_nothing():
    records = [record(number, number / 20, rate=0.001) for number in range(9)]
    assert importance(records, standing(records)) == []


def test_trials_that_are_all_equal():
    records = [record(number, 0.0, rate=10 ** (-4 + number / 10)) for number in range(12)]
    assert all(one.share >= 0 for one in importance(records, standing(records)))
