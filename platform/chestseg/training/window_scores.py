"""Showing images to averages of snapshots: batch-norm statistics, then Dice on held-out cases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from chestseg.config import Experiment
from chestseg.data.loader import MicroBatch
from chestseg.models.registry import build_model
from chestseg.preprocessing import preprocessing_of
from chestseg.training.averaging import SNAPSHOTS, Averages, Snapshots, re_estimate
from chestseg.training.batch_norm import BatchNorms
from chestseg.training.checkpoint import Progress
from chestseg.training.engine import Engine
from chestseg.training.group import Group
from chestseg.training.run import training_cases
from chestseg.training.stage import StageRun
from chestseg.training.validation import overlaps, probabilities
from chestseg.training.window_plan import PROBED


class Job(NamedTuple):
    """An average to be scored."""

    epochs: tuple[int, ...]
    cases: tuple[int, ...]
    """Held-out ones, by index."""
    batches: int
    """Micro-batches for its batch-norm statistics."""
    statistics: np.ndarray | None
    """These, where an earlier round has estimated them."""


class Scores(NamedTuple):
    """What is known of an average."""

    statistics: np.ndarray | None
    """(width,) float32, as `BatchNorms.read` gives them."""
    sums: np.ndarray
    """(cases, 3) of `validation.overlaps`."""


class Full(NamedTuple):
    """An average after a full pass for its batch-norm statistics, beside itself with those of a subset."""

    sums: np.ndarray
    """(cases, 3) of `validation.overlaps`."""
    mean: float
    """Absolute difference of probabilities in the mean over all pixels of the first `PROBED` cases."""
    largest: float


class Scorer(Protocol):
    """Does the work, here or elsewhere."""

    has_norms: bool
    """Whether any batch-norm layer's statistics must be estimated for an average."""

    def score(self, jobs: Sequence[Job]) -> list[Scores]:
        """Statistics and sums of each job's average, in order."""
        ...

    def full(self, job: Job, batches: int) -> Full:
        """Show a scored average on `job.cases` again, after `batches` micro-batches."""
        ...


class LocalScorer:
    """Scores in this process, one average after the other.

    Args:
        experiment: of a trained run.
        dataset: what it was trained on.
        folder: the run's.
        group: the device; the CPU when None.
    """

    def __init__(self, experiment: Experiment, dataset: Any, folder: Path, group: Group | None = None) -> None:
        # Compiling would cost more than the few passes of each average.
        training = experiment.training.model_copy(update={"compile": False})
        self.run = last_stage(experiment.model_copy(update={"training": training}), dataset, folder, group or Group())
        self.engine = self.run.engine
        self.has_norms = bool(BatchNorms(self.engine.network).width)
        self.averages, self.weights = Averages(self.run.snapshots, self.run.index), self.engine.network.state_dict()
        self.loaded: list[MicroBatch] = []

    def score(self, jobs: Sequence[Job]) -> list[Scores]:
        """As of `Scorer`; training images are loaded and augmented once for all of them."""
        return [self._score(job) for job in jobs]

    def full(self, job: Job, batches: int) -> Full:
        """As of `Scorer`."""
        self._load(job.epochs)
        if job.statistics is None or not self.has_norms:
            return Full(self._overlaps(job.cases), 0.0, 0.0)
        re_estimate(self.engine, self.run.norm_batches(batches), self.run.norm_plan(batches).steps)
        sums = self._overlaps(job.cases)
        norms = BatchNorms(self.engine.network)
        both = [job.statistics, norms.read().cpu().numpy()]
        total, pixels, largest = 0.0, 0, 0.0
        self.engine.network.eval()
        for case in job.cases[:PROBED]:
            one, other = (self._map(case, norms, statistics) for statistics in both)
            differences = (one - other).abs()
            total, pixels = total + float(differences.sum(dtype=torch.float64)), pixels + differences.numel()
            largest = max(largest, float(differences.max()))
        return Full(sums, total / max(1, pixels), largest)

    def _score(self, job: Job) -> Scores:
        self._load(job.epochs)
        norms = BatchNorms(self.engine.network)
        statistics = job.statistics
        if statistics is None and self.has_norms:
            if not self.loaded:
                self.loaded = list(self.run.norm_batches(job.batches))
            re_estimate(self.engine, iter(self.loaded), self.run.norm_plan(job.batches).steps)
            statistics = norms.read().cpu().numpy()
        elif statistics is not None:
            norms.write(torch.tensor(statistics))
        return Scores(statistics, self._overlaps(job.cases))

    def _load(self, epochs: Sequence[int]) -> None:
        for name, value in self.averages.mean(epochs).items():
            self.weights[name].copy_(value)
        self.engine.freeze()

    def _overlaps(self, cases: Sequence[int]) -> np.ndarray:
        return overlaps(self.engine, self.run.cases.arrays, np.array(cases, np.int64), self.run.cases.compare_at)

    def _map(self, case: int, norms: BatchNorms, statistics: np.ndarray) -> torch.Tensor:
        norms.write(torch.tensor(statistics))
        return probabilities(self.engine, self.run.cases.arrays, [case])[0]


def last_stage(experiment: Experiment, dataset: Any, folder: Path, group: Group) -> StageRun:
    """The last stage of a run that has ended, with a network of no particular weights, and its snapshots."""
    index = len(experiment.stages) - 1
    stage = experiment.stages[index]
    network, preprocessing = build_model(experiment.model, pretrained=False), preprocessing_of(stage, experiment.data)
    engine = Engine(network, stage, experiment.training, preprocessing, group, (experiment.seed, index))
    cases = training_cases(experiment, dataset)
    return StageRun(engine, cases, Snapshots(folder / SNAPSHOTS), index, Progress(), save=lambda report, progress: None)
