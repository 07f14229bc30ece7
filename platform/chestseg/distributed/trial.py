"""A trial: one experiment of a sweep, trained and scored in the process that Ray Tune gives it, or by workers which that one starts."""

import gc
import json
import os
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.exceptions import RayError

from chestseg.config import Experiment, experiment_from
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed import gauges
from chestseg.distributed.assignment import TOLD, Assignment, Failed, Hindered, validated_in
from chestseg.distributed.bucket_run import BucketCopy, at_work
from chestseg.distributed.places import is_of_the_place
from chestseg.distributed.score_trial import Scored, score_trial
from chestseg.distributed.train import record, settle_threads
from chestseg.distributed.trial_workers import introduce, train_on_workers
from chestseg.tracking.recorder import Recorder
from chestseg.training.checkpoint import Checkpoint
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter, Report
from chestseg.training.run import train

CHECKPOINTS = "checkpoints"
"""Folder in the run's, of a trial that is trained in one process."""
LONGEST_REASON = 200
USERS_TO_MEND = (ValueError, FloatingPointError)
"""Errors whose message says all, remedy included."""


def run_trial(config: dict[str, Any]) -> None:
    """What Ray Tune runs for each trial: train from the last checkpoint on, report, score.

    What another attempt would meet again is told as `Failed`, what every trial would meet here as `Hindered`; only what Ray itself raises
    (a lost node, a killed worker) leaves the function, and Tune tries again. A stop ends the thread inside of `tune.report`.
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
    except Exception as error:
        hindered = is_of_the_place(error)
        if isinstance(error, RayError) and not hindered:
            raise
        if not isinstance(error, USERS_TO_MEND):
            traceback.print_exc()
        tune.report({TOLD: Hindered(one_line(error)) if hindered else Failed(one_line(error))})
    else:
        if answer is not None:
            tune.report({TOLD: answer})
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def train_here(assignment: Assignment, experiment: Experiment) -> Scored:
    """Train and score in this process."""
    settle_threads(experiment.training)
    group = Group(device=torch.device("cuda" if assignment.gpu else "cpu"))
    dataset = PreparedDataset.open(experiment.data.prepared)
    with (
        at_work(assignment.bucket, experiment, assignment.run, group) as (own, run, copy),
        gauges.cleared(own),
        run.recorder(sends=False) as recorder,
    ):
        train(own, dataset, group, TrialReporter(recorder, own, assignment, copy), Path(own.run_folder))
        return score_trial(own, dataset, assignment.scoring, group.device)


class TrialReporter:
    """Tells Ray Tune of each validated epoch and waits for its decision; only then is the epoch's checkpoint written.

    So the driver holds every report that a checkpoint is past: whoever is killed between the two trains and reports that epoch again.
    """

    def __init__(self, recorder: Recorder, experiment: Experiment, assignment: Assignment, copy: BucketCopy | None = None) -> None:
        self.recorder, self.experiment, self.assignment, self.copy = recorder, experiment, assignment, copy
        self.checkpoints = FolderReporter(Path(experiment.run_folder, CHECKPOINTS))

    def resume(self, digest: str) -> Checkpoint | None:
        """The newest checkpoint in the run's folder, or in the bucket."""
        return self.copy.resume(digest) if self.copy else self.checkpoints.resume(digest)

    def report(self, report: Report, checkpoint: Checkpoint | None) -> None:
        """Record, let the driver decide where the epoch was validated, and keep the checkpoint."""
        validated = validated_in(report, self.assignment.scoring.metric)
        record(self.recorder, self.experiment, report, checkpoint, shown=validated is not None)
        if validated:
            tune.report({TOLD: validated})
        if self.copy:
            self.copy.keep(report, checkpoint)
        elif checkpoint:
            self.checkpoints.report(report, checkpoint)

    def after_step(self, steps: int) -> bool:
        """A lost machine costs a trial of one process the steps since its last checkpoint."""
        return False


def one_line(error: BaseException) -> str:
    """An error's first words, with its kind where the message alone would not tell."""
    text = " ".join(str(error).split())[:LONGEST_REASON]
    return text if isinstance(error, USERS_TO_MEND) and text else f"{type(error).__name__}: {text}"
