"""Compute of trials: what an image costs at a stage, and from that what a schedule has spent after so many steps.

All of it is arithmetic on given `Costs`, so a sweep that is started again with the same costs plans and compares the same. What it leaves
out: the average at the end of a stage, and what a run does after its last stage.
"""

import math
from typing import Literal, NamedTuple

from chestseg.config import Experiment, Stage, Strict

ROUNDING = 1e-9
"""Part of a budget by which rounding may exceed it."""


class Cost(Strict):
    """In the budget's unit."""

    training: float
    """One image or patch: loaded, forward and backward, with its part of the optimiser's step."""
    validation: float
    """One held-out case: a whole radiograph, or all patches of a volume."""


class Costs(Strict):
    """Costs of everything a sweep's trials may do, and how many cases there are. JSON holds it exactly."""

    unit: Literal["flops", "seconds"]
    training_cases: int
    validation_cases: int
    by: dict[str, Cost]
    """By `cost_key`."""

    def of(self, experiment: Experiment, stage: Stage) -> Cost:
        """The cost at a stage.

        Raises:
            ValueError: it was never estimated.
        """
        key = cost_key(experiment, stage)
        if key not in self.by:
            raise ValueError(f"no cost is known of {key}: the space has changed: give the sweep another name")
        return self.by[key]


def cost_key(experiment: Experiment, stage: Stage) -> str:
    """What costs depend on, in words."""
    frozen = ", encoder frozen" if "encoder" in stage.frozen else ""
    return f"{experiment.model.encoder} at {stage.resolution} by {stage.images_per_micro_batch}{frozen}"


class Epochs(NamedTuple):
    """A stage as a row of equal epochs."""

    steps: int
    """Optimiser steps in an epoch."""
    step: float
    """Compute of one."""
    validation: float
    """Compute of a whole validation."""

    @property
    def training(self) -> float:
        """Compute of an epoch without its validation."""
        return self.steps * self.step

    def compute(self, epochs: int, every: int) -> float:
        """Of so many epochs, validated after every `every`-th of them and after the last."""
        return epochs * self.training + math.ceil(epochs / every) * self.validation

    def affordable(self, compute: float, every: int) -> int:
        """The most epochs, validated as in `compute`, that cost no more."""
        compute *= 1 + ROUNDING
        rounds, left = divmod(compute, every * self.training + self.validation)
        return int(rounds) * every + max(0, min(every - 1, int((left - self.validation) // self.training)))


def epochs_of(experiment: Experiment, stage: Stage, costs: Costs, validation_cases: int) -> Epochs:
    """Steps and costs of a stage's epochs, as the sampler makes them of its cases."""
    cost = costs.of(experiment, stage)
    steps = max(1, (stage.cases_per_epoch or costs.training_cases) // stage.batch)
    return Epochs(steps, stage.batch * cost.training, validation_cases * cost.validation)


def compute_reached(experiment: Experiment, costs: Costs, validation_cases: int, steps: int) -> float:
    """Compute of a schedule from its start to the end of an optimiser step, with the validation that follows it where one is due.

    Args:
        experiment: the trial's.
        costs: of its stages.
        validation_cases: held out.
        steps: optimiser steps over all stages, as reports count them.
    """
    reached = 0.0
    for stage in experiment.stages:
        epochs = epochs_of(experiment, stage, costs, validation_cases)
        whole = steps // epochs.steps
        if whole >= stage.epochs:
            reached += epochs.compute(stage.epochs, stage.validate_every)
            steps -= stage.epochs * epochs.steps
            continue
        return reached + steps * epochs.step + whole // stage.validate_every * epochs.validation
    return reached


def total_compute(experiment: Experiment, costs: Costs, validation_cases: int) -> float:
    """Compute of a schedule from its start to its end."""
    parts = [(epochs_of(experiment, stage, costs, validation_cases), stage) for stage in experiment.stages]
    return sum(epochs.compute(stage.epochs, stage.validate_every) for epochs, stage in parts)
