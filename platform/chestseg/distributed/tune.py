"""A sweep on Ray Tune: the conductor says what is tried and what is stopped, Tune places, watches and repeats the trials.

Nothing of Tune's own state is kept or restored. A sweep that is started again feeds a fresh Tuner, unfinished trials first.
"""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import tune
from ray.tune import FailureConfig, PlacementGroupFactory, RunConfig, TuneConfig, Tuner

from chestseg.config import Training
from chestseg.distributed.answers import start_answers
from chestseg.distributed.course import Course
from chestseg.distributed.room import worker_resources
from chestseg.distributed.trial import run_trial
from chestseg.distributed.tune_adapters import Decisions, Events, Suggestions, assigned

OWN = "ray"
"""Folder in the sweep's for Ray Tune's own files, made anew at each start."""
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""No tables of Tune's own beside the journal, no snapshots of a state that is never restored, no tracebacks of what is tried again, no
other working directory, no boxes on the screen."""

NEXT_TO_NOTHING = {"memory": 1.0}
"""What an actor takes that only starts workers: a byte. Ray Tune refuses nothing at all, and a part of a CPU
would be missing where all are planned for."""


def run_course(course: Course, training: Training, folder: Path, at_once: int) -> None:
    """Run all trials that a sweep's course hands out on the attached cluster.

    A trial of one worker trains inside of its Tune actor, which the next trial uses again, so PyTorch is imported once a slot. One of
    several workers is an actor that starts them; it takes no CPU.

    Args:
        course: what to run, and whom to tell.
        training: of the trials: workers, resources, failures allowed.
        folder: the sweep's, which all nodes share.
        at_once: trials that run side by side.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it before its trials did; all processes have ended.
        ValueError, OSError: what `course` met, such as a full disk; likewise.
    """
    alone = training.workers == 1
    answers = start_answers(course.answers) if course.answers else None
    own = folder / OWN
    shutil.rmtree(own, ignore_errors=True)
    os.environ |= SETTINGS
    tuner = Tuner(
        tune.with_resources(run_trial, PlacementGroupFactory([worker_resources(training) if alone else NEXT_TO_NOTHING])),
        tune_config=TuneConfig(
            search_alg=Suggestions(course),
            scheduler=Decisions(course),
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=alone,
            trial_name_creator=lambda trial: assigned(trial).label,
            trial_dirname_creator=lambda trial: assigned(trial).label,
        ),
        run_config=RunConfig(
            name=OWN,
            storage_path=str(folder.absolute()),
            failure_config=FailureConfig(max_failures=training.max_failures),
            callbacks=[Events(course)],
            verbose=0,
        ),
    )
    try:
        with _handlers_kept():
            tuner.fit()
    finally:
        if answers is not None:
            ray.kill(answers)
    if not course.over or any(record.state == "running" for record in course.conductor.records()):
        raise KeyboardInterrupt


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray Tune takes Ctrl-C for itself, ends in good order, and never gives it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
