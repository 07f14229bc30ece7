"""Compute is the same arithmetic as the engine's epochs, steps and validations."""

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chestseg.config import Experiment
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter
from chestseg.training.run import train
from chestseg.tuning.compute import Cost, Costs, Epochs, compute_reached, cost_key, total_compute
from chestseg.tuning.measure import threads_set
from tests.training.arrays_in_memory import ArraysInMemory
from tests.tuning.spaces import small_base


def simple_costs(experiment: Experiment, training_cases: int = 8, validation_cases: int = 4) -> Costs:
    """1 an image at the first stage, 10 at the next and so on; a tenth of it in validation."""
    by = {cost_key(experiment, stage): Cost(training=10**place, validation=10**place / 10) for place, stage in enumerate(experiment.stages)}
    return Costs(unit="flops", training_cases=training_cases, validation_cases=validation_cases, by=by)


def with_stages(*changes: dict[str, Any]) -> Experiment:
    base = small_base()
    stages = [stage.model_copy(update=change) for stage, change in zip(base.stages, changes, strict=True)]
    return base.model_copy(update={"stages": tuple(stages)})


def test_steps_are_counted_as_a_training_takes_them(tmp_path: Path) -> None:
    experiment = with_stages({"epochs": 3, "validate_every": 2, "positives": 0.5}, {"epochs": 2, "swa": None, "cases_per_epoch": 4})
    costs = simple_costs(experiment)
    reporter = FolderReporter(tmp_path / "checkpoints")
    with threads_set(1):
        train(experiment, cast(Any, ArraysInMemory()), Group(), reporter, tmp_path)
    reached = {
        (report.stage, report.epoch): compute_reached(experiment, costs, 4, report.step)
        for report in reporter.reports
        if report.epoch is not None
    }
    # 8 cases an epoch at 1 each; validations of 4 at 0.1 after epochs 2 and 3; then 4 cases at 10 and 4 at 1 after each epoch.
    assert reached == pytest.approx({(0, 0): 8, (0, 1): 16.4, (0, 2): 24.8, (1, 0): 68.8, (1, 1): 112.8})
    last = max(report.step for report in reporter.reports)
    assert total_compute(experiment, costs, 4) == compute_reached(experiment, costs, 4, last) == reached[1, 1]


def test_within_an_epoch_compute_rises_by_steps() -> None:
    experiment = with_stages({"epochs": 2}, {"epochs": 1, "swa": None})
    costs = simple_costs(experiment, training_cases=9)  # two batches of 4
    reached = [compute_reached(experiment, costs, 0, steps) for steps in range(7)]
    assert reached == [0, 4, 8, 12, 16, 56, 96]


def test_costs_survive_json_exactly() -> None:
    costs = simple_costs(small_base()).model_copy(update={"by": {"x": Cost(training=1 / 3, validation=2e-17)}})
    assert Costs.model_validate_json(costs.model_dump_json()) == costs


def test_a_stage_that_was_never_priced_is_named() -> None:
    experiment = small_base()
    costs = simple_costs(experiment)
    other = with_stages({"size": 96, "frozen": ("encoder",)}, {})
    with pytest.raises(ValueError, match="mobilenet_v2 at 96 px by 2, encoder frozen"):
        total_compute(other, costs, 4)


@given(st.integers(1, 50), st.floats(1e-6, 1e12), st.floats(0, 1e12), st.integers(1, 9), st.integers(0, 300))
def test_affordable_is_the_inverse_of_compute(steps: int, step: float, validation: float, every: int, epochs: int) -> None:
    stage = Epochs(steps, step, validation)
    cost = stage.compute(epochs, every)
    found = stage.affordable(cost, every)
    assert found >= epochs and stage.compute(found, every) <= cost * (1 + 1e-8)
