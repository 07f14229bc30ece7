"""Points of a space: increasing, of fixed distributions, replayed from their parameters, and experiments that keep the rest of the base."""

from itertools import pairwise
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chestseg.config import Experiment
from chestseg.config.fit import check_fit
from chestseg.tuning.compute import Costs, total_compute
from chestseg.tuning.costing import costs_of
from chestseg.tuning.space import draw, experiment_of, models_of
from tests.training.volumes_in_memory import COARSE, FINE, small_ct_experiment
from tests.tuning.spaces import Dice, radiographs, small_base, small_ct_sweep, small_sweep, varied, volumes

SWEEP, BASE = small_sweep(), small_base()


@pytest.fixture(scope="module")
def costs() -> Costs:
    return costs_of(SWEEP, BASE, radiographs())


def test_the_small_sweep_fits_its_base() -> None:
    check_fit(SWEEP.space, SWEEP.windows, BASE, "test")


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_any_point_is_a_rising_schedule_of_the_budgets_compute(costs: Costs, seed: int) -> None:
    params = draw(SWEEP.space, Dice(seed))
    experiment = experiment_of(SWEEP, BASE, params, costs, 7)
    sizes = [stage.size for stage in experiment.stages]  # type: ignore[attr-defined]
    assert len(sizes) == params["stages"] and sizes[-1] == params["size.last"]
    assert all(low < high for low, high in pairwise(sizes))
    cheapest = min(_an_epoch(experiment, place, costs) for place in range(len(sizes)))
    left = SWEEP.budget.per_trial - total_compute(experiment, costs, costs.validation_cases)
    assert -1e-6 * SWEEP.budget.per_trial <= left < cheapest


def _an_epoch(experiment: Experiment, place: int, costs: Costs) -> float:
    """Compute of one epoch more of a stage, validated."""
    stage = experiment.stages[place].model_copy(update={"epochs": 1, "validate_every": 1})
    return total_compute(experiment.model_copy(update={"stages": (stage,)}), costs, costs.validation_cases)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_a_name_has_one_distribution_whatever_else_is_drawn(seed: int) -> None:
    one, other = Dice(seed), Dice(seed + 1)
    draw(SWEEP.space, one)
    draw(SWEEP.space, other)
    assert all(one.asked[name] == other.asked[name] for name in one.asked.keys() & other.asked.keys())


def test_every_schedule_of_the_ladder_that_leaves_room_can_be_drawn() -> None:
    found = set()
    for seed in range(400):
        params = draw(SWEEP.space, Dice(seed))
        found.add((params["stages"], params["size.last"]))
    assert found == {(n, size) for n in (1, 2, 3) for size in (96, 128)}


def test_what_is_drawn_arrives_and_all_else_stays(costs: Costs) -> None:
    params: dict[str, Any] = {
        "stages": 2, "size.last": 128, "size_place.last-1": 0.0, "share.last": 0.5, "batch.last": 8, "batch.last-1": 4,
        "lr.last": 1e-3, "lr.last-1": 2e-3, "loss.dice": 2.0, "loss.focal": 0, "positives": 0.3, "augmentation": 0.7,
        "encoder": "resnet18", "tail_lr": 4e-4,
    }  # fmt: skip
    experiment = experiment_of(SWEEP, BASE, params, costs, 12)
    first, last = experiment.stages
    assert (first.size, first.batch, first.optimiser.lr) == (32, 4, 2e-3)  # type: ignore[attr-defined]
    assert (last.size, last.batch, last.optimiser.lr) == (128, 8, 1e-3)  # type: ignore[attr-defined]
    assert {(s.loss.dice, s.loss.focal, s.positives, s.augmentation) for s in experiment.stages} == {(2.0, 0.0, 0.3, 0.7)}
    assert (experiment.model.encoder, experiment.model.weights) == ("resnet18", "none")
    assert last.swa and (last.swa.last, last.swa.tail, last.swa.lr, last.swa.batch_norm_batches) == (6, 6, 4e-4, 4)
    assert (experiment.name, experiment.storage) == ("small-sweep-0012", "runs/sweeps/small-sweep/trials")
    assert (last.loss.empty, last.optimiser.clip, last.micro_batch, first.swa) == (0.5, 1.0, 2, None)
    for kept in ("seed", "data", "fold", "postprocessing", "training", "tracking"):
        assert getattr(experiment, kept) == getattr(BASE, kept), kept


def test_a_stage_takes_after_the_bases_as_far_from_the_end(costs: Costs) -> None:
    sweep = varied(SWEEP, stages=3, batch=None, lr=None, loss={}, positives=None, encoder=None)
    experiment = experiment_of(sweep, BASE, draw(sweep.space, Dice(1)), costs, 0)
    assert [stage.optimiser.clip for stage in experiment.stages] == [None, None, 1.0]
    assert [stage.positives for stage in experiment.stages] == [(0.75, 0.5), (0.75, 0.5), None]
    alone = BASE.model_copy(update={"stages": BASE.stages[1:]})
    experiment = experiment_of(sweep, alone, draw(sweep.space, Dice(1)), costs, 0)
    assert [stage.optimiser.clip for stage in experiment.stages] == [1.0, 1.0, 1.0]
    assert [bool(stage.swa) for stage in experiment.stages] == [False, False, True]


def test_values_are_drawn_once_or_for_each_stage() -> None:
    sweep = varied(SWEEP, stages=[2, 3], by_stage=["loss", "positives"])
    dice = Dice(3)
    draw(sweep.space, dice)
    assert {"batch", "lr", "augmentation", "loss.dice.last", "loss.dice.last-1", "positives.last-1"} < dice.asked.keys()


def test_a_single_value_is_no_parameter(costs: Costs) -> None:
    sweep = varied(SWEEP, stages=2, sizes=[32, 64], batch=8, encoder={"resnet18": "none"}, share=0.25)
    dice = Dice(0)
    params = draw(sweep.space, dice)
    assert {"lr.last", "lr.last-1", "positives", "augmentation", "loss.dice", "loss.focal", "tail_lr"} == params.keys() == dice.asked.keys()
    experiment = experiment_of(sweep, BASE, params, costs, 0)
    assert [stage.size for stage in experiment.stages] == [32, 64]  # type: ignore[attr-defined]
    assert [stage.batch for stage in experiment.stages] == [8, 8]


def test_sizes_of_a_list_are_drawn_by_their_value() -> None:
    sweep = varied(SWEEP, stages=[1, 2], sizes=[128, 32, 96])
    dice = Dice(0)
    draw(sweep.space, dice)
    assert dice.asked["size.last"] == (96, 128)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_volumes_get_a_spacing_with_its_patch(ct_costs: Costs, seed: int) -> None:
    sweep, base = small_ct_sweep(), small_ct_experiment()
    experiment = experiment_of(sweep, base, draw(sweep.space, Dice(seed)), ct_costs, 0)
    seen = [(stage.spacing, stage.patch) for stage in experiment.stages]  # type: ignore[attr-defined]
    assert seen in ([(FINE, (4, 64, 64))], [(COARSE, (2, 32, 32)), (FINE, (4, 64, 64))])
    assert experiment.stages[-1].swa == base.stages[-1].swa, "without windows the base's averaging stays"


@pytest.fixture(scope="module")
def ct_costs() -> Costs:
    return costs_of(small_ct_sweep(), small_ct_experiment(), volumes())


def test_a_spacing_is_drawn_by_its_name() -> None:
    spacings = [{"spacing": (4.0, mm, mm), "patch": (2, 32, 32)} for mm in (1.0, 1.5, 2.0)]
    dice = Dice(0)
    draw(varied(small_ct_sweep(), spacings=spacings).space, dice)
    assert dice.asked["spacing.last"] == ("4 x 1.5 x 1.5 mm", "4 x 1 x 1 mm")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"stages": 4}, "stages is 4, outside of the space's \\[1, 3\\]"),
        ({"size.last": 100}, "size.last is 100"),
        ({"encoder": "vgg"}, "encoder is 'vgg'"),
        ({"lr.last": 1.0}, "lr.last is 1.0"),
        ({"lr.last": None}, "parameter lr.last is missing"),
    ],
)
def test_parameters_of_another_space_are_refused(costs: Costs, params: dict[str, Any], told: str) -> None:
    point = {**draw(SWEEP.space, Dice(0)), **params}
    with pytest.raises(ValueError, match=f"trial 3: .*{told}"):
        experiment_of(SWEEP, BASE, {name: value for name, value in point.items() if value is not None}, costs, 3)


def test_cmaes_is_for_numbers_that_every_trial_has() -> None:
    numbers = {"stages": 2, "batch": None, "encoder": None, "loss": {}}
    assert varied(SWEEP, **numbers).space.fixed_numeric
    assert not SWEEP.space.fixed_numeric
    for change in ({"stages": [1, 2]}, {"batch": [4, 8]}, {"sizes": [32, 64, 128]}, {"loss": {"focal": [0, 1]}}):
        assert not varied(SWEEP, **{**numbers, **change}).space.fixed_numeric, change


def test_the_networks_of_a_space() -> None:
    assert [(model.encoder, model.weights) for model in models_of(SWEEP.space, BASE)] == [("mobilenet_v2", "none"), ("resnet18", "none")]
    assert models_of(varied(SWEEP, encoder=None).space, BASE) == [BASE.model]
    summed = BASE.model_copy(update={"model": BASE.model.model_copy(update={"weights": "a.pt", "weights_sha256": "0" * 64})})
    assert [model.weights_sha256 for model in models_of(SWEEP.space, summed)] == [None, None]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optuna_draws_its_own_parameters_from_it() -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=3, multivariate=True, group=True))
    for _ in range(12):
        trial = study.ask()
        assert draw(SWEEP.space, trial) == trial.params
        study.tell(trial, trial.params["positives"])
