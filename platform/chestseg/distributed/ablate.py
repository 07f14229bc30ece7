"""The trainings of an ablation and the scoring of their weights, with Ray."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import ray
import torch
from safetensors.torch import load_file

from chestseg.bundle import build_network
from chestseg.config import Experiment, experiment_from, load_experiment
from chestseg.config.ablation import Ablation, Variation
from chestseg.config.location import inside
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.measure import measure_schedule
from chestseg.distributed.room import uses_gpu, worker_resources
from chestseg.distributed.train import for_other_nodes, settle_threads
from chestseg.evaluation.score import score
from chestseg.evaluation.summary import Evaluation
from chestseg.inference.predictor import LiveModel
from chestseg.inference.predictors import predictor_of
from chestseg.preprocessing import preprocessing_of
from chestseg.storage.copies import here
from chestseg.training.averaging import SNAPSHOTS, Snapshots
from chestseg.training.run import FINAL
from chestseg.tuning.compute import epochs_of, total_compute
from chestseg.tuning.costing import estimate_costs


class Scored(NamedTuple):
    """Which weights of a training are scored, and how."""

    swa: bool
    """The average that the training ended with, or the weights of the last epoch that was kept."""
    tta: bool
    """Flips are averaged."""


def variant(ablation: Ablation, name: str | None, fold: int, dataset: PreparedDataset, plan: dict[str, int]) -> Experiment:
    """The experiment of a variation (the base for None) with a fold held out, all validated on the base's grid.

    Its name, and so its run's folder, is the ablation's and the variation's own: the user's run of the base is left alone, and what a
    digest does not tell apart, such as data, is not trained in one place. Epochs that follow from measured seconds are never the same
    twice: `plan` keeps them, and is asked first.

    Raises:
        ValueError: the base's schedule does not pay for one epoch of the variation.
    """
    variation = ablation.variations[name] if name else None
    overrides = list(variation.set) if variation else []
    base = load_experiment(ablation.base, [*ablation.set, *overrides])
    last, common = base.stages[-1], ablation.experiment
    grid = common.training.compare_at or getattr(common.stages[-1], "size", None) or getattr(common.stages[-1], "spacing", None)
    called = "-".join(filter(None, [base.name, ablation.name, name]))
    changed: dict[str, Any] = {"name": called, "fold": fold, "storage": ablation.experiment.storage, "choose": None}
    changed["training"] = base.training.model_copy(update={"compare_at": grid})
    if variation and variation.last_stage_only:
        key = f"{base.digest} {variation.equal} fold {fold}"
        if key not in plan:
            plan[key] = _epochs(base, variation, fold, dataset)
        first = base.stages[0] if variation.starts_as == "first" else last
        start = {"optimiser": first.optimiser, "positives": first.positives}
        changed["stages"] = (last.model_copy(update={"epochs": plan[key], **start}),)
    return experiment_from(base.model_copy(update=changed).model_dump(mode="json"))


def fairness(ablation: Ablation, trained: Mapping[str, list[Experiment]]) -> tuple[str, ...]:
    """What a reader must know of how trainings differ beyond what they are called after.

    Args:
        ablation: all of it.
        trained: by name the experiments of the folds.
    """
    notes = []
    for name, variation in ablation.variations.items():
        if variation.last_stage_only:
            rate = trained[name][0].stages[0].optimiser.lr
            whose = f"the {variation.starts_as} stage's optimiser (rate {rate:g}) and share of positives"
            why = "" if variation.starts_as == "first" else ", made for fine-tuning, though it starts where the first stage does"
            notes.append(f"{name}: the last stage's resolution from the start, with {whose}{why}.")
    tails = {name: swa.lr for name, own in trained.items() if (swa := own[0].stages[-1].swa) and swa.lr}
    if tails and "swa" in ablation.without:
        rates = ", ".join(f"{rate:g} in {name}" for name, rate in tails.items())
        notes.append(
            f"Without SWA: the weights of the last epoch of a tail at the constant rate swa.lr ({rates}). A training without SWA would "
            "have let its rate fall to the end, so these differences may be more than what averaging brings."
        )
    return tuple(notes)


def scorings(experiment: Experiment, ablation: Ablation) -> list[Scored]:
    """What each training is scored with: as configured first, then less one thing, then less both."""
    swa = [True] if experiment.stages[-1].swa else [False]
    tta = [experiment.postprocessing.flip_tta]
    swa += [False] if "swa" in ablation.without and swa[0] else []
    tta += [False] if "tta" in ablation.without and tta[0] else []
    return [Scored(one, other) for one in swa for other in tta]


def score_trainings(experiments: list[Experiment], wanted: list[list[Scored]]) -> list[list[Evaluation]]:
    """Each training's weights on the cases it held out, once for each of what is `wanted` of it."""
    first = experiments[0]
    resources, gpu = worker_resources(first.training), uses_gpu(first.training)
    task = ray.remote(_score).options(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0))
    device = "cuda" if gpu else "cpu"
    return ray.get([task.remote(for_other_nodes(one), how, device) for one, how in zip(experiments, wanted, strict=True)])


def _epochs(base: Experiment, variation: Variation, fold: int, dataset: PreparedDataset) -> int:
    last, held = base.stages[-1], base.model_copy(update={"fold": fold})
    if variation.equal is None:
        return last.epochs
    costs = estimate_costs(held, dataset) if variation.equal == "compute" else measure_schedule(held)
    budget = total_compute(held, costs, 0)
    found = epochs_of(held, last, costs, 0).affordable(budget, last.epochs)
    least = 1 + (last.swa.skip if last.swa else 0)
    if found < least:
        raise ValueError(f"{base.name}: its schedule pays for {found} epochs at {last.resolution}, {least} are needed: lengthen it")
    return found


def _score(told: str, wanted: list[Scored], device: str) -> list[Evaluation]:
    experiment = experiment_from(json.loads(told))
    settle_threads(experiment.training)
    dataset = PreparedDataset.open(experiment.data.prepared)
    assert isinstance(experiment.fold, int)
    indices = dataset.indices("train", fold=experiment.fold)
    found = []
    for how in wanted:
        network = build_network(experiment.model, weights_of(experiment, how), experiment.run_folder).to(device)
        rule = experiment.postprocessing.model_copy(update={"flip_tta": how.tta})
        model = LiveModel(network, preprocessing_of(experiment.stages[-1], experiment.data), rule)
        found.append(score(predictor_of(model), dataset, indices))
    return found


def weights_of(experiment: Experiment, how: Scored) -> dict[str, torch.Tensor]:
    """Of a trained experiment, those that are scored.

    Raises:
        ValueError: no snapshot is left to score without SWA.
    """
    folder, last = experiment.run_folder, experiment.stages[-1]
    if how.swa or last.swa is None:
        return load_file(here(inside(folder, FINAL)))
    snapshots, place = Snapshots(here(inside(folder, SNAPSHOTS))), len(experiment.stages) - 1
    kept = snapshots.epochs(place)  # the last one trained may be an earlier epoch than planned, or lie behind the window and be gone
    if not kept:
        raise ValueError(f"{snapshots.folder}: the last stage's snapshots are gone: delete {folder} to train it again")
    return snapshots.load(place, kept[-1])
