"""Everything that trials may do has a cost, counted or measured, and a budget that is too small is told before the start."""

import pytest
import torch

from chestseg.training.run import training_cases
from chestseg.tuning.compute import cost_key
from chestseg.tuning.costing import answers_per_case, costs_of, estimate_costs, flops_per_second, measure_costs, variants
from chestseg.tuning.flops import forward_flops, training_flops
from tests.training.volumes_in_memory import small_ct_experiment
from tests.tuning.spaces import radiographs, small_base, small_ct_sweep, small_sweep, varied, volumes

BASE = small_base()


def test_flops_of_all_that_may_be_drawn() -> None:
    costs = costs_of(small_sweep(), BASE, radiographs())
    # Two encoders; of three places the last has 96 or 128 pixels, the one before any but 128, the first 32 or 64.
    assert {key.partition(" by")[0] for key in costs.by} == {
        f"{e} at {s} px" for e in ("mobilenet_v2", "resnet18") for s in (32, 64, 96, 128)
    }
    assert (costs.training_cases, costs.validation_cases) == (8, 4)
    cost = costs.of(BASE, BASE.stages[0])
    assert cost.training == training_flops(BASE, BASE.stages[0]) == 3 * cost.validation


def test_micro_batches_follow_a_drawn_batch() -> None:
    whole = BASE.model_copy(update={"stages": tuple(s.model_copy(update={"micro_batch": None}) for s in BASE.stages)})
    costs = costs_of(varied(small_sweep(), encoder=None), whole, radiographs())
    assert {key.rpartition("by ")[2] for key in costs.by} == {"4", "8"}


def test_a_volume_is_validated_in_patches() -> None:
    base, arrays = small_ct_experiment(), volumes()
    costs = costs_of(small_ct_sweep(), base, arrays)
    assert set(costs.by) == {
        "mobilenet_v2 at 4 x 2 x 2 mm, patches 2 x 32 x 32 by 2", "mobilenet_v2 at 4 x 1 x 1 mm, patches 4 x 64 x 64 by 2"
    }  # fmt: skip
    stage = variants(small_ct_sweep(), base)[0][1].stages[0]
    cases = training_cases(base, arrays)
    # Volumes 0 and 1 are held out: 6 and 7 slices of 24 x 20, in patches of 2 x 32 x 32.
    assert answers_per_case(stage, cases) == 3.5
    assert costs.of(base, stage).validation == 3.5 * forward_flops(base, stage)


def test_a_budget_too_small_for_the_dearest_trial_is_refused() -> None:
    sweep = small_sweep(budget={"per_trial": 1e9})
    with pytest.raises(ValueError, match=r"with (\w+) and the fewest epochs \(1 at 64 px, 1 at 96 px, 7 at 128 px\) costs .* raise it"):
        costs_of(sweep, BASE, radiographs())


def test_seconds_are_measured_once_for_each_kind_of_stage(capsys: pytest.CaptureFixture[str]) -> None:
    space = {"stages": [1, 2], "sizes": [32, 64], "lr": {"low": 1e-3, "high": 1e-2}}
    sweep = small_sweep(budget={"unit": "seconds", "per_trial": 1e4}, space=space, windows=None)
    threads = torch.get_num_threads()
    costs = costs_of(sweep, BASE, radiographs(), threads=1)
    assert torch.get_num_threads() == threads
    assert set(costs.by) == {cost_key(BASE, stage) for stage in BASE.stages} and costs.unit == "seconds"
    assert all(0 < cost.validation < 10 and 0 < cost.training < 10 for cost in costs.by.values())
    assert capsys.readouterr().out.count("s an image in training") == 2


def test_costs_of_one_experiment_beside_a_sweep() -> None:
    base, arrays = small_ct_experiment(), volumes()
    counted, measured = estimate_costs(base, arrays), measure_costs(base, arrays, threads=1)
    assert counted.by.keys() == measured.by.keys() == {cost_key(base, stage) for stage in base.stages}
    assert flops_per_second(base, arrays, threads=1) > 0
