"""Choosing a trial's SWA window with Ray: tasks beside the trial, which holds the CPUs and waits."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import ray
import torch
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from chestseg.config import Experiment, Windows, experiment_from
from chestseg.data.prepared import PreparedDataset
from chestseg.training.group import Group
from chestseg.training.window_scores import Full, Job, LocalScorer, Scores
from chestseg.training.windows import WindowResult, choose


def choose_window(
    experiment: Experiment,
    folder: Path,
    spec: Windows,
    cpus: int,
    *,
    metric: str = "val_dice_positives",
    device: torch.device | None = None,
    dataset: Any = None,
) -> WindowResult:
    """Score the windows in the tail of a run that has ended, and choose one; nothing is trained.

    On CPUs Ray tasks do it, on the node of the caller and at most `cpus` at once; they ask Ray for none, as the caller has them and
    waits. On a GPU this process does, one window after the other.

    Args:
        experiment: the run's, with averaging in its last stage.
        folder: the run's, with its snapshots; on storage that the node sees.
        spec: how many windows, and what share of the run's compute they may cost.
        cpus: that the caller holds.
        metric: what decides, one of `training.validation.METRICS`.
        device: a GPU of the caller's; CPUs when None.
        dataset: what the run was trained on; opened at `data.prepared` when None.

    Raises:
        ValueError: there is no tail, no held-out case, or a snapshot is missing.
    """
    start = time.perf_counter()
    dataset = PreparedDataset.open(experiment.data.prepared) if dataset is None else dataset
    here = LocalScorer(experiment, dataset, folder, Group(device=device) if device else None)
    on_gpu = device is not None and device.type != "cpu"
    result = choose(experiment, dataset, spec, here if on_gpu else _Tasks(here, experiment, dataset, folder, cpus), metric)
    return replace(result, seconds=time.perf_counter() - start)


class _Tasks:
    """Lets Ray tasks score: as many as there are CPUs, each a run of neighbouring windows on a thread of its own."""

    def __init__(self, here: LocalScorer, experiment: Experiment, dataset: Any, folder: Path, cpus: int) -> None:
        self.has_norms, self.cpus = here.has_norms, cpus
        beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": beside}
        self.given = (experiment.model_dump(mode="json"), ray.put(dataset), str(folder.absolute()))

    def score(self, jobs: Sequence[Job]) -> list[Scores]:
        """As of `Scorer`; the answer does not depend on how many tasks there are."""
        shares = [share for share in np.array_split(np.arange(len(jobs)), self.cpus) if len(share)]
        found = self._answers(_score, [([jobs[place] for place in share],) for share in shares])
        return [scores for part in found for scores in part]

    def full(self, job: Job, batches: int) -> Full:
        """As of `Scorer`."""
        return self._answers(_full, [(job, batches)])[0]

    def _answers(self, task: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
        """Of one task for each of `arguments`; what a user can mend is raised as it was there."""
        remote = ray.remote(task).options(**self.options)
        try:
            return ray.get([remote.remote(*self.given, *own) for own in arguments])
        except RayTaskError as error:
            if isinstance(error.cause, ValueError):
                raise error.cause from None
            raise


def _score(experiment: dict[str, Any], dataset: Any, folder: str, jobs: list[Job]) -> list[Scores]:
    """The task."""
    return _scorer(experiment, dataset, folder).score(jobs)


def _full(experiment: dict[str, Any], dataset: Any, folder: str, job: Job, batches: int) -> Full:
    """The task of the check."""
    return _scorer(experiment, dataset, folder).full(job, batches)


def _scorer(experiment: dict[str, Any], dataset: Any, folder: str) -> LocalScorer:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return LocalScorer(experiment_from(experiment), dataset, Path(folder))
