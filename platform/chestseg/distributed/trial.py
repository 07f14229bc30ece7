"""A trial: one experiment of a sweep, trained and scored in a process that Ray Tune gives it, or by workers that process starts."""

import gc
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray import tune
from ray._private import ray_constants
from ray.exceptions import RayError
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.tune.integration.ray_train import TuneReportCallback

from chestseg.config import Experiment, experiment_from
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.answers import wait_for_answer
from chestseg.distributed.score_trial import Scored, Scoring, score_trial
from chestseg.distributed.train import RayReporter, join_group, record, settle_threads, told, trainer_of
from chestseg.tracking.recorder import Recorder
from chestseg.tracking.tracked_run import TrackedRun
from chestseg.training.checkpoint import Checkpoint
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter, Report
from chestseg.training.run import train

CHECKPOINTS = "checkpoints"
"""Folder in the run's, of a trial that is trained in one process."""
TOLD = "told"
"""Key of a report to Ray Tune under which the driver finds a `Validated`, `Scored` or `Failed`."""
LONGEST_REASON = 200


@dataclass(frozen=True)
class Assignment:
    """What a trial's process is told; plain data, since Ray Tune copies and pickles it."""

    number: int
    label: str
    experiment: str = field(repr=False)
    """JSON, its paths absolute."""
    run: TrackedRun = field(repr=False)
    scoring: Scoring = field(repr=False)
    gpu: bool = False
    answers: str | None = None
    """Name of the actor where workers hear the driver's decisions; None where the trial is one process."""


@dataclass(frozen=True)
class Validated:
    """An epoch of a trial was validated; the trial waits for the answer."""

    step: int
    """Optimiser steps over all stages."""
    value: float


@dataclass(frozen=True)
class Failed:
    """A trial met what another attempt would meet too."""

    reason: str
    """One line."""


class Stopped(Exception):
    """The driver stops this trial."""


def run_trial(config: dict[str, Any]) -> None:
    """What Ray Tune runs for each trial: train from the last checkpoint on, report, score.

    What another attempt would meet again is told as `Failed`; only what Ray itself raises (a lost node, a killed worker) leaves the
    function, and Tune tries again. A stop ends the thread inside of `tune.report`.
    """
    assignment: Assignment = config["assignment"]
    experiment = experiment_from(json.loads(assignment.experiment))
    introduce(assignment.label)
    # A stopped trial's thread is waited for, before its process takes the next trial or is given up; on a busy machine that takes long.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "60"
    try:
        if assignment.answers is None:
            answer: Scored | None = train_here(assignment, experiment)
        else:
            answer = train_on_workers(assignment, experiment)
    except RayError:
        raise
    except Exception as error:  # noqa: BLE001  (told to the driver, whose sweep goes on with other trials)
        tune.report({TOLD: Failed(one_line(error))})
    else:
        if answer is not None:
            tune.report({TOLD: answer})
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def introduce(label: str) -> None:
    """Let Ray's log say which trial this process works on from here on: actors are used again, and keep their first name."""
    print(f"{ray_constants.LOG_PREFIX_ACTOR_NAME}{label}", flush=True)


def train_here(assignment: Assignment, experiment: Experiment) -> Scored:
    """Train and score in this process."""
    settle_threads(experiment.training)
    group = Group(device=torch.device("cuda" if assignment.gpu else "cpu"))
    folder = Path(experiment.run_folder)
    dataset = PreparedDataset.open(experiment.data.prepared)
    with assignment.run.recorder(sends=False) as recorder:
        train(experiment, dataset, group, TrialReporter(recorder, experiment, assignment), folder)
        return score_trial(experiment, dataset, assignment.scoring, group.device)


class TrialReporter:
    """Tells Ray Tune of each validated epoch and waits for its decision; only then is the epoch's checkpoint written.

    So the driver holds every report that a checkpoint is past: whoever is killed between the two trains and reports that epoch again.
    """

    def __init__(self, recorder: Recorder, experiment: Experiment, assignment: Assignment) -> None:
        self.recorder, self.experiment, self.assignment = recorder, experiment, assignment
        self.checkpoints = FolderReporter(Path(experiment.run_folder, CHECKPOINTS))

    def resume(self, digest: str) -> Checkpoint | None:
        """The newest checkpoint in the run's folder."""
        return self.checkpoints.resume(digest)

    def report(self, report: Report, checkpoint: Checkpoint | None) -> None:
        """Record, let the driver decide where the epoch was validated, and keep the checkpoint."""
        record(self.recorder, self.experiment, report, checkpoint)
        validated = validated_in(report, self.assignment.scoring.metric)
        if validated:
            tune.report({TOLD: validated})
        if checkpoint:
            self.checkpoints.report(report, checkpoint)


def validated_in(report: Report, metric: str) -> Validated | None:
    """What the driver shall decide on, None where this report is of no validated epoch.

    Raises:
        ValueError: the epoch was validated and the metric is not among its results.
    """
    found = {name: value for name, value in report.metrics.items() if name.startswith("val_")}
    if not found:
        return None
    if metric not in found:
        raise ValueError(f"metric {metric!r}: validation gives {', '.join(sorted(found))}: set the sweep's metric to one of these")
    return Validated(report.step, found[metric])


def train_on_workers(assignment: Assignment, experiment: Experiment) -> Scored | None:
    """Train on the experiment's workers, the first of which scores; None where the driver stopped the trial."""
    _say_which_cluster()
    trainer = trainer_of(experiment, _worker, {"assignment": assignment}, [TuneReportCallback()])
    try:
        answer = trainer.fit().return_value or {}
    except TrainingFailedError as error:
        raise RuntimeError(f"its workers stopped: {told(error)}") from error
    if "mistake" in answer:
        raise ValueError(answer["mistake"])
    return answer.get("scored")


def _say_which_cluster() -> None:
    """Let the processes of Ray Train know their cluster's address.

    What frees the resources of a killed trial asks the dashboard, and would else guess where it is, in vain if two clusters run here.
    """
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")


def _worker(config: dict[str, Any]) -> dict[str, Any]:
    """One worker's whole life, as of `chestseg.distributed.train`, that ends early where the driver says so."""
    assignment: Assignment = config["assignment"]
    experiment = experiment_from(json.loads(config["experiment"]))
    group = join_group(experiment.training)
    if group.rank:
        return _share_training(assignment, experiment, group, None)
    introduce(assignment.label)
    with assignment.run.recorder(sends=False) as recorder:
        return _share_training(assignment, experiment, group, recorder)


def _share_training(assignment: Assignment, experiment: Experiment, group: Group, recorder: Recorder | None) -> dict[str, Any]:
    dataset = PreparedDataset.open(experiment.data.prepared)
    try:
        train(experiment, dataset, group, SharedReporter(recorder, experiment, assignment, group), Path(experiment.run_folder))
        if group.rank == 0:
            return {"scored": score_trial(experiment, dataset, assignment.scoring, group.device)}
    except Stopped:
        return {}
    except FloatingPointError as mistake:
        return {"mistake": str(mistake)}
    return {}


class SharedReporter(RayReporter):
    """Reports to Ray Train on every worker; after a validated epoch all of them hear the driver's decision before they go on."""

    def __init__(self, recorder: Recorder | None, experiment: Experiment, assignment: Assignment, group: Group) -> None:
        super().__init__(recorder, experiment)
        self.assignment, self.group = assignment, group

    def settle(self, report: Report) -> None:
        """Report without a checkpoint, so that the driver's journal is ahead of every checkpoint, and wait.

        Raises:
            Stopped: on all workers alike, so that they leave together and Ray Train frees what they held.
        """
        validated = validated_in(report, self.assignment.scoring.metric)
        if validated is None:
            return
        ray.train.report({TOLD: validated})
        goes_on = torch.zeros(1, device=self.group.device)
        if self.group.rank == 0:
            assert self.assignment.answers is not None
            goes_on += wait_for_answer(self.assignment.answers, self.assignment.number, validated.step)
        if not self.group.sum_(goes_on).item():
            raise Stopped


def one_line(error: BaseException) -> str:
    """An error's first words, with its kind where the message alone would not tell."""
    text = " ".join(str(error).split())[:LONGEST_REASON]
    return text if isinstance(error, ValueError | FloatingPointError) and text else f"{type(error).__name__}: {text}"
