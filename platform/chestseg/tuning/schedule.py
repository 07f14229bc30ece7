"""Epochs of a schedule's stages from their shares of a budget of compute."""

from collections.abc import Sequence

from chestseg.config import Experiment, Stage
from chestseg.tuning.compute import ROUNDING, Costs, Epochs, epochs_of


def fill(
    experiment: Experiment, shares: Sequence[float], least: Sequence[int], budget: float, validations: int | None, costs: Costs
) -> list[dict[str, int]]:
    """Epochs and validation interval of every stage, such that the schedule costs the budget or a little less.

    A stage gets its share rounded down to whole epochs, but no fewer than its least and so that the later stages still get theirs. What
    is left goes to the last stage, and what no further epoch of it would fit into goes to the stages before, the latest first. So what
    is left over in the end is less than one epoch, with one validation, of the cheapest stage.

    Args:
        experiment: its stages, whose epochs don't matter.
        shares: of each stage, together 1.
        least: epochs of each stage.
        budget: in the costs' unit.
        validations: over the whole trial, spread evenly over its compute; None keeps `validate_every`.
        costs: of the stages.

    Returns:
        `epochs` and `validate_every` of each stage.

    Raises:
        ValueError: the least epochs cost more than the budget.
    """
    stages = [epochs_of(experiment, stage, costs, costs.validation_cases) for stage in experiment.stages]
    every = [_interval(stage, each, budget, validations) for stage, each in zip(experiment.stages, stages, strict=True)]
    spent = [each.compute(n, v) for each, n, v in zip(stages, least, every, strict=True)]
    if sum(spent) > budget * (1 + ROUNDING):
        raise ValueError(_too_dear(experiment, least, sum(spent), budget, costs.unit))
    epochs = list(least)
    last = len(stages) - 1
    wanted = [(place, share * budget) for place, share in enumerate(shares)][:-1]
    for place, share in [*wanted, *((place, budget) for place in range(last, -1, -1))]:
        others = sum(spent) - spent[place]
        epochs[place] = max(epochs[place], stages[place].affordable(min(share, budget - others), every[place]))
        spent[place] = stages[place].compute(epochs[place], every[place])
    return [{"epochs": n, "validate_every": v} for n, v in zip(epochs, every, strict=True)]


def require_affordable(places: Sequence[Experiment], budget: float, validations: int | None, costs: Costs) -> None:
    """Refuse a budget that the dearest schedule exceeds even with the fewest epochs.

    Args:
        places: for each place of the longest schedule, its last one first, an experiment whose stages are all that may stand there,
            with the fewest epochs each.
        budget: as of `fill`, as are the others.
        validations: over the whole trial.
        costs: of all the stages.

    Raises:
        ValueError: the schedule, its cost and the remedy.
    """
    dearest = [max(experiment.stages, key=lambda stage, e=experiment: _cost(e, stage, budget, validations, costs)) for experiment in places]
    schedule = places[0].model_copy(update={"stages": tuple(reversed(dearest))})
    needed = sum(_cost(schedule, stage, budget, validations, costs) for stage in schedule.stages)
    if needed > budget * (1 + ROUNDING):
        raise ValueError(_too_dear(schedule, [stage.epochs for stage in schedule.stages], needed, budget, costs.unit))


def _cost(experiment: Experiment, stage: Stage, budget: float, validations: int | None, costs: Costs) -> float:
    epochs = epochs_of(experiment, stage, costs, costs.validation_cases)
    return epochs.compute(stage.epochs, _interval(stage, epochs, budget, validations))


def _interval(stage: Stage, epochs: Epochs, budget: float, validations: int | None) -> int:
    """Epochs between two validations: as many as fit into its part of the budget, one at least."""
    if validations is None:
        return stage.validate_every
    return max(1, int((budget / validations - epochs.validation) // epochs.training))


def _too_dear(experiment: Experiment, least: Sequence[int], needed: float, budget: float, unit: str) -> str:
    schedule = ", ".join(f"{n} at {stage.resolution}" for n, stage in zip(least, experiment.stages, strict=True))
    return (
        f"a schedule with {experiment.model.encoder} and the fewest epochs ({schedule}) costs {needed:.3g} {unit}, "
        f"budget.per_trial is {budget:.3g}: raise it, or lower cases_per_epoch, sizes, stages or windows.tail"
    )
