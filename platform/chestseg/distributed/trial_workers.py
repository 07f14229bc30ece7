"""A trial of several workers: Ray Train runs them, and all of them hear the driver's decision on each validated epoch."""

import json
import os
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray._private import ray_constants
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.tune.integration.ray_train import TuneReportCallback

from chestseg.config import Experiment, experiment_from
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.answers import wait_for_answer
from chestseg.distributed.assignment import TOLD, Assignment, validated_in
from chestseg.distributed.bucket_run import BucketCopy, at_work
from chestseg.distributed.places import is_of_the_place
from chestseg.distributed.score_trial import Scored, score_trial
from chestseg.distributed.train import LEAVING, RayReporter, join_group, to_the_end, told, trainer_of
from chestseg.tracking.recorder import Recorder
from chestseg.training.group import Group
from chestseg.training.leaving import Leaving
from chestseg.training.reporter import Report
from chestseg.training.run import train


class Stopped(Exception):
    """The driver stops this trial."""


def introduce(label: str) -> None:
    """Let Ray's log say which trial this process works on from here on: actors are used again, and keep their first name."""
    print(f"{ray_constants.LOG_PREFIX_ACTOR_NAME}{label}", flush=True)


def train_on_workers(assignment: Assignment, experiment: Experiment) -> Scored | None:
    """Train on the experiment's workers, the first of which scores; None where the driver stopped the trial."""
    _say_which_cluster()
    try:
        answer = to_the_end(lambda: trainer_of(experiment, _worker, {"assignment": assignment}, [TuneReportCallback()]).fit())
    except TrainingFailedError as error:
        words = f"its workers stopped: {told(error)}"
        raise (OSError(words) if is_of_the_place(error) else RuntimeError(words)) from error
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
    with at_work(assignment.bucket, experiment, assignment.run, group) as (own, run, copy):
        if group.rank:
            return _share_training(assignment, own, group, None, copy)
        introduce(assignment.label)
        with run.recorder(sends=False) as recorder:
            return _share_training(assignment, own, group, recorder, copy)


def _share_training(
    assignment: Assignment, experiment: Experiment, group: Group, recorder: Recorder | None, copy: BucketCopy | None
) -> dict[str, Any]:
    dataset = PreparedDataset.open(experiment.data.prepared)
    try:
        train(experiment, dataset, group, SharedReporter(recorder, experiment, assignment, group, copy), Path(experiment.run_folder))
        if group.rank == 0:
            return {"scored": score_trial(experiment, dataset, assignment.scoring, group.device)}
    except Stopped:
        return {}
    except Leaving:
        return {LEAVING: "yes"}
    except FloatingPointError as mistake:
        return {"mistake": str(mistake)}
    return {}


class SharedReporter(RayReporter):
    """Reports to Ray Train on every worker; after a validated epoch all of them hear the driver's decision before they go on."""

    def __init__(
        self, recorder: Recorder | None, experiment: Experiment, assignment: Assignment, group: Group, copy: BucketCopy | None = None
    ) -> None:
        super().__init__(recorder, experiment, group, copy)
        self.assignment, self.group = assignment, group

    def shows(self, report: Report) -> bool:
        """Only validated epochs: others' trials print too."""
        return validated_in(report, self.assignment.scoring.metric) is not None

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
