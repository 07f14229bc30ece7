"""Networks of several folds, scored side by side with Ray: each on the cases it held out, all together on the test split."""

import json
from typing import Any

import ray
import torch

from chestseg.bundle import build_network
from chestseg.config import Experiment, Postprocessing, VolumePostprocessing, experiment_from
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.cluster import may_grow
from chestseg.distributed.room import nodes_up, say_waiting, trainings_held, uses_gpu, waited_for, worker_resources
from chestseg.distributed.train import for_other_nodes, settle_threads
from chestseg.evaluation.folds import bundle_of
from chestseg.evaluation.score import score
from chestseg.evaluation.summary import Evaluation
from chestseg.inference.predictor import LiveModel
from chestseg.inference.predictors import predictor_of
from chestseg.models.ensemble import joined

Rule = Postprocessing | VolumePostprocessing


def at_once(experiment: Experiment, folds: int) -> int:
    """How many of so many folds are trained side by side: as many as the attached cluster holds, at least 1; all where it may grow.

    A cluster that may grow adds the nodes it is asked for, and folds that it has none for wait; that is said on stderr.
    """
    nodes = nodes_up()
    if not may_grow():
        return min(folds, max(1, trainings_held(experiment.training, nodes)))
    if lacks := waited_for("folds", experiment.training, nodes, folds):
        say_waiting(lacks)
    return folds


def score_out_of_fold(experiments: list[Experiment], rules: list[Rule]) -> list[Evaluation]:
    """Each trained fold on the cases it held out, with the rule given for it; in the order of `experiments`."""
    return _all([(for_other_nodes(one), rule, "train") for one, rule in zip(experiments, rules, strict=True)], experiments[0])


def score_together(experiments: list[Experiment], rule: Rule) -> Evaluation:
    """The mean of all folds' probabilities on the test split."""
    [found] = _all([([for_other_nodes(one) for one in experiments], rule, "test")], experiments[0])
    return found


def weights_of(experiments: list[Experiment]) -> dict[str, torch.Tensor]:
    """The state dict of the ensemble of trained folds."""
    return joined([bundle_of(one).build_model().state_dict() for one in experiments])


def _all(jobs: list[tuple[Any, Rule, str]], experiment: Experiment) -> list[Evaluation]:
    resources, gpu = worker_resources(experiment.training), uses_gpu(experiment.training)
    task = ray.remote(_score).options(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0))
    return ray.get([task.remote(told, rule, split, "cuda" if gpu else "cpu") for told, rule, split in jobs])


def _score(told: str | list[str], rule: Rule, split: str, device: str) -> Evaluation:
    """One fold's network on its own fold, or several folds' together on the test split."""
    experiments = [experiment_from(json.loads(text)) for text in ([told] if isinstance(told, str) else told)]
    first = experiments[0]
    settle_threads(first.training)
    dataset = PreparedDataset.open(first.data.prepared)
    bundle = bundle_of(first)
    spec = bundle.spec
    if len(experiments) == 1:
        network = bundle.build_model()
    else:
        network = build_network(spec.model, weights_of(experiments), spec.name, len(experiments))
    predictor = predictor_of(LiveModel(network.to(device), spec.preprocessing, rule))
    assert split == "test" or isinstance(first.fold, int)
    indices = dataset.indices("test") if split == "test" else dataset.indices("train", fold=int(first.fold))
    return score(predictor, dataset, indices)
