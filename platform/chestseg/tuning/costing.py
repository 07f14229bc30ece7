"""Before the first trial: what everything costs that a sweep's trials may do, and whether the budget is enough for any of them."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from chestseg.config import Experiment, Stage, Sweep, VolumeStage, experiment_from
from chestseg.config.domain import ends
from chestseg.config.variant import Tree, averaged, exchanged, least_epochs, template
from chestseg.data.prepared import PreparedDataset
from chestseg.inference.sliding_window import window_corners
from chestseg.training.run import training_cases
from chestseg.training.stage import Cases
from chestseg.training.validation import VOLUME_OVERLAP
from chestseg.tuning.compute import Cost, Costs, cost_key
from chestseg.tuning.flops import forward_flops, training_flops
from chestseg.tuning.measure import answer_seconds, step_seconds, threads_set
from chestseg.tuning.schedule import require_affordable

CPU = torch.device("cpu")
Priced = Callable[[Experiment, Stage, Cases], Cost]


def costs_of(sweep: Sweep, base: Experiment, dataset: PreparedDataset, threads: int = 1, device: torch.device = CPU) -> Costs:
    """Costs of every stage that a trial may have, in the unit of the sweep's budget.

    FLOPs take about a second for each resolution and encoder. Seconds take a few training steps for each resolution, encoder and
    micro-batch, are measured on the machine where this is called, and are never the same twice: keep them.

    Args:
        sweep: whose space it is.
        base: the sweep's.
        dataset: prepared for the base.
        threads: PyTorch's, where seconds are measured; as many as a trial's worker has.
        device: where seconds are measured.

    Raises:
        ValueError: a stage, an encoder or cases that can't be, or a budget that some trial could not keep to.
    """
    experiments = [experiment for places in variants(sweep, base) for experiment in places]
    costs = (
        _costs(experiments, dataset, "flops", _estimated)
        if sweep.budget.unit == "flops"
        else measured_costs(experiments, dataset, threads, device)
    )
    check_budget(sweep, base, costs)
    return costs


def estimate_costs(experiment: Experiment, dataset: PreparedDataset) -> Costs:
    """Costs of one experiment's stages in FLOPs; of the data only the shapes of volumes are read."""
    return _costs([experiment], dataset, "flops", _estimated)


def measure_costs(experiment: Experiment, dataset: PreparedDataset, threads: int, device: torch.device = CPU) -> Costs:
    """Costs of one experiment's stages in seconds, as one worker takes them for loading and computing."""
    return measured_costs([experiment], dataset, threads, device)


def flops_per_second(experiment: Experiment, dataset: PreparedDataset, threads: int, device: torch.device = CPU) -> float:
    """What one worker computes in training at the last stage, loading included: to tell how long a budget of FLOPs may take."""
    last = experiment.model_copy(update={"stages": experiment.stages[-1:]})
    with threads_set(threads):
        seconds = step_seconds(last, last.stages[0], training_cases(last, dataset), device)
    return training_flops(last, last.stages[0]) / seconds


def measured_costs(experiments: Iterable[Experiment], dataset: PreparedDataset, threads: int, device: torch.device) -> Costs:
    """As `measure_costs`, of several experiments; what they have in common is measured once."""

    def priced(experiment: Experiment, stage: Stage, cases: Cases) -> Cost:
        cost = Cost(
            training=step_seconds(experiment, stage, cases, device),
            validation=answer_seconds(experiment, stage, device) * answers_per_case(stage, cases),
        )
        key = cost_key(experiment, stage)
        print(f"{key}: {cost.training:.4f} s an image in training, {cost.validation:.4f} s a case in validation", flush=True)
        return cost

    with threads_set(threads):
        return _costs(experiments, dataset, "seconds", priced)


def variants(sweep: Sweep, base: Experiment) -> list[list[Experiment]]:
    """All that costs depend on, for each encoder: an experiment for each place in a schedule, the last place first.

    The stages of an experiment are all that a trial may have at that place, with the fewest epochs each.
    """
    space = sweep.space
    batches = [{}] if space.batch is None else [{"batch": size} for size in ends(space.batch)]
    tree = base.model_dump(mode="json")
    found = []
    for encoder in space.encoder or [None]:
        trees = exchanged(tree, space.encoder_values(encoder))
        places = []
        for behind in range(space.most_stages):
            stages = [_least(sweep, template(base, behind) | keys | batch, behind) for keys in _rungs(sweep, behind) for batch in batches]
            places.append(experiment_from(trees | {"stages": stages}, where="space"))
        found.append(places)
    return found


def check_budget(sweep: Sweep, base: Experiment, costs: Costs) -> None:
    """Refuse a budget that the dearest schedule with the fewest epochs exceeds, so that no trial can turn out infeasible.

    Raises:
        ValueError: names that schedule, what it costs and the remedy.
    """
    for places in variants(sweep, base):
        require_affordable(places, sweep.budget.per_trial, sweep.validations, costs)


def answers_per_case(stage: Stage, cases: Cases) -> float:
    """How often the network answers in validation for one case: once, or for each patch of a volume, on average."""
    if not isinstance(stage, VolumeStage):
        return 1.0
    shapes = [cases.arrays.image(int(case), stage.spacing).shape for case in cases.validation]
    return float(np.mean([len(window_corners(shape, stage.patch, VOLUME_OVERLAP)) for shape in shapes]))


def _rungs(sweep: Sweep, behind: int) -> tuple[Tree, ...]:
    """Resolutions that a stage may have which so many stages follow."""
    ladder = sweep.space.ladder
    return ladder[sweep.space.most_stages - 1 :] if behind == 0 else ladder[: len(ladder) - behind]


def _least(sweep: Sweep, stage: Tree, behind: int) -> Tree:
    stage = stage if behind else averaged(stage, sweep.windows, None)
    return stage | {"epochs": least_epochs(stage)}


def _estimated(experiment: Experiment, stage: Stage, cases: Cases) -> Cost:
    forward = forward_flops(experiment, stage)
    return Cost(training=training_flops(experiment, stage), validation=forward * answers_per_case(stage, cases))


def _costs(experiments: Iterable[Experiment], dataset: PreparedDataset, unit: str, priced: Priced) -> Costs:
    by: dict[str, Cost] = {}
    counts = (0, 0)
    for experiment in experiments:
        cases = training_cases(experiment, dataset)
        counts = len(cases.training), len(cases.validation)
        for stage in experiment.stages:
            key = cost_key(experiment, stage)
            if key not in by:
                by[key] = priced(experiment, stage, cases)
    return Costs.model_validate({"unit": unit, "training_cases": counts[0], "validation_cases": counts[1], "by": by})
