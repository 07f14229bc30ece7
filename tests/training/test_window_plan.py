"""Rounds within a budget, and cases in an order whose every beginning is a fair choice."""

import numpy as np
import pytest

from chestseg.config import Windows
from chestseg.training.window_plan import Round, halving, held_out, plan_scores, spread, trial_cost
from tests.training.arrays_in_memory import ArraysInMemory
from tests.training.tails_in_memory import tailed
from tests.training.volumes_in_memory import VolumesInMemory


def paid(rounds: list[Round]) -> int:
    before = [0, *(r.cases for r in rounds)]
    return sum(r.windows * (r.cases - seen) for r, seen in zip(rounds, before, strict=False))


@pytest.mark.parametrize("budget", [30, 200, 1000, 2399, 2400])
def test_halving_spends_what_it_has_and_no_more(budget: int) -> None:
    rounds = halving(24, 100, budget)
    assert budget - 24 - 12 - 6 - 6 < paid(rounds) <= max(budget, 24 + 12 + 12 + 12)
    assert [r.windows for r in rounds] == [24, 12, 6, 3][: len(rounds)]
    assert [r.cases for r in rounds] == sorted({r.cases for r in rounds})
    assert rounds[-1].cases <= 100


def test_one_round_where_everything_fits() -> None:
    assert halving(24, 100, 2400) == [Round(24, 100)]
    assert halving(24, 1, 0) == [Round(24, 1)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 100])
def test_every_beginning_is_spread_evenly(count: int) -> None:
    order = spread(count)
    assert sorted(order) == list(range(count))
    for taken in range(1, count + 1):
        gaps = np.diff([-1, *sorted(order[:taken]), count])
        assert gaps.max() <= 2 * count / taken + 2


def test_held_out_cases_are_those_that_count_small_and_large_in_turn() -> None:
    arrays, experiment = ArraysInMemory(), tailed("cxr", {})
    assert set(held_out(experiment, arrays, "val_dice")) == {0, 1, 2, 3}
    assert {bool(arrays.positive[c]) for c in held_out(experiment, arrays, "val_dice")[:2]} == {True, False}
    assert set(held_out(experiment, arrays, "val_dice_positives")) == {0, 2}
    arrays.masks[:4] = 0
    with pytest.raises(ValueError, match="metric val_dice_positives: fold 0 holds no case that it counts"):
        held_out(experiment, arrays, "val_dice_positives")


def test_a_trial_costs_its_steps_validations_and_average() -> None:
    # Seven epochs of 8 images, one validation of 4 cases, an average: 3 micro-batches of 2 and a validation.
    assert trial_cost(tailed("cxr", {}), ArraysInMemory()) == 3 * 7 * 8 + 4 + 3 * 2 + 4
    # Volumes of 24 x 20 and 6 or 7 slices: 3 or 4 patches of 2 x 32 x 32.
    assert trial_cost(tailed("ct", {}), VolumesInMemory()) == 3 * 7 * 8 + 7 + 3 * 2 + 7


def test_the_plan_keeps_to_its_share_and_shows_more_where_it_is_larger() -> None:
    experiment, arrays = tailed("cxr", {}, cases_per_epoch=400), ArraysInMemory()
    plans = [plan_scores(experiment, arrays, Windows(share=share), 24, 4, True) for share in (0.02, 0.05, 0.1)]
    assert all(plan.cost <= share * plan.trial for plan, share in zip(plans, (0.02, 0.05, 0.1), strict=True))
    assert plans[0].batches < plans[1].batches < plans[2].batches and plans[0].full < plans[2].full < plans[2].epoch == 200
    assert plan_scores(experiment, arrays, Windows(), 24, 4, False).batches == 0
