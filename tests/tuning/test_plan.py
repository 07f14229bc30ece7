"""Plans: how long at most, how much disk; what the disk can't hold is refused in a line."""

from typing import Any

import pytest

from chestseg.config import Experiment
from chestseg.tuning.flops import weight_bytes
from chestseg.tuning.plan import passing, plan
from tests.tuning.spaces import small_base, small_sweep

GB = 10**9
ALONE = {"space": {"stages": 1, "sizes": {"low": 32, "high": 64, "step": 32}}, "windows": None}


def base(**training: Any) -> Experiment:
    experiment = small_base()
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=training)})


def test_a_disk_that_can_not_hold_all_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="trials need up to .* GB and 100.0 GB are free: free some space") as caught:
        plan(small_sweep(trials=10**6), base(), 4, False, 100 * GB)
    assert "\n" not in str(caught.value)


def test_time_in_seconds_and_how_much_halving_saves() -> None:
    sweep = small_sweep(**ALONE, trials=10, budget={"unit": "seconds", "per_trial": 100}, pruner={"reduction": 2, "rungs": [0.25, 0.5]})
    found = plan(sweep, base(), 2, False, 100 * GB)
    assert found.longest == 5 * 100
    assert found.expected == pytest.approx(5 * 100 * (0.25 + 0.25 / 2 + 0.5 / 4))
    assert passing(sweep.pruner) == [1, 0.5, 0.25]
    unpruned = plan(sweep.model_copy(update={"pruner": None}), base(), 2, False, 100 * GB)
    assert unpruned.expected == unpruned.longest == 500


def test_windows_add_their_share_and_workers_divide_the_time() -> None:
    sweep = small_sweep(trials=1, budget={"per_trial": 1e12}, pruner=None)
    assert plan(sweep, base(workers=2), 1, False, 100 * GB, speed=1e10).longest == pytest.approx(55)


def test_disk_for_checkpoints_snapshots_and_bundles() -> None:
    sweep = small_sweep(trials=3, space={"stages": 1, "sizes": {"low": 32, "high": 64, "step": 32}, "tail_lr": 1e-3})
    found = plan(sweep, base(), 2, False, 100 * GB)
    # Two run, with three checkpoints of weights and two moments, and the initial weights; three leave six snapshots and two copies.
    assert found.disk == (2 * 10 + 3 * 8) * weight_bytes(base().model)


def test_the_plan_in_words() -> None:
    sweep = small_sweep(trials=16, budget={"per_trial": 3e12})
    assert plan(sweep, base(workers=2, cpus_per_worker=3, gpu="yes"), 2, True, 100 * GB, speed=5e9).lines() == [
        "16 trials, 2 at once, each on 2 workers of 3 CPUs and a GPU",
        "3e+12 flops a trial; time at most 44 min, 11 min expected",
        f"disk: at most {(2 * 10 + 16 * 8) * max(weight_bytes(m) for m in _models(sweep)) / GB:.1f} GB, 100.0 GB are free",
    ]
    assert plan(small_sweep(), base(), 2, False, 100 * GB).lines()[1] == "1e+12 flops a trial; time not known: the speed was not measured"


def _models(sweep: Any) -> list[Any]:
    from chestseg.tuning.space import models_of

    return models_of(sweep.space, base())
