"""What is of the place a trial works in stops the sweep and leaves the trial to be resumed; what is of its point ends it."""

import errno
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError, RayTaskError, WorkerCrashedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError
from safetensors import SafetensorError

from chestseg.cli.tune import is_left
from chestseg.distributed import trial
from chestseg.distributed.assignment import TOLD, Assignment, Failed, Hindered
from chestseg.distributed.course import Course
from chestseg.distributed.places import PlaceFails, is_of_the_place
from chestseg.distributed.score_trial import Scoring
from chestseg.storage.objects import StorageError
from chestseg.tracking.tracked_run import TrackedRun
from chestseg.tuning.conductor import Conductor
from chestseg.tuning.records import SweepJournal
from chestseg.tuning.sampler import Sampler
from chestseg.tuning.space import draw
from tests.tuning.outcomes import SPACE, a_sweep, costs_of
from tests.tuning.spaces import small_base

FULL = OSError(errno.ENOSPC, "No space left on device", "/shared/x")
AWAY = StorageError("s3://job/x: no answer for 300 s (refused): start it again when the bucket answers")


def course_of(folder: Path, **changes: Any) -> Course:
    """As its driver makes it, with nobody told of the trials."""
    sweep = a_sweep(folder, trials=2, **changes)
    sampler = Sampler("random", sweep.seed, lambda source: draw(sweep.space, source))
    return Course(sweep, costs_of(sweep), Conductor(SweepJournal(Path(sweep.folder)), sampler, None, sweep.trials), "feed")


def states(course: Course) -> list[str]:
    return [record.state for record in course.conductor.records()]


def test_a_hindered_trial_stops_the_sweep_and_is_handed_out_again(tmp_path: Path) -> None:
    course = course_of(tmp_path)
    first = course.conductor.next()
    assert first
    with pytest.raises(ValueError, match=r"trial 0 can't go on \(OSError: the disk is full\): mend that and start the sweep again"):
        course.hear(first.number, Hindered("OSError: the disk is full"))
    assert states(course) == ["running"] and is_left(course.conductor.records(), 1)
    assert course_of(tmp_path).conductor.next() == first


def test_weights_that_can_not_be_had_stop_the_sweep_and_leave_the_trial(tmp_path: Path) -> None:
    course = course_of(tmp_path, space=SPACE | {"encoder": {"mobilenet_v2": str(tmp_path / "gone.safetensors")}})
    with pytest.raises(ValueError, match=r"model\.weights: .*gone\.safetensors is no file"):
        course.hand_out()
    assert states(course) == ["running"]


@pytest.mark.parametrize(
    ("error", "of_the_place"),
    [
        (FULL, True),
        (AWAY, True),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (RayTaskError("score", "trace", FULL), True),
        (ControllerError(FULL), True),
        (WorkerGroupError("failed", {0: RuntimeError("peer left"), 1: UserExceptionWithTraceback(AWAY, "trace")}), True),
        (WorkerGroupError("failed", {0: UserExceptionWithTraceback(ValueError("no case"), "trace")}), False),
        (RayTaskError("score", "trace", ValueError("no case")), False),
        (GetTimeoutError("late"), False),
        (WorkerCrashedError(), False),
        (FloatingPointError("loss is nan: lower the learning rate"), False),
        (ValueError("fold 0 has no case"), False),
    ],
)
def test_what_is_of_the_place(error: Exception, of_the_place: bool) -> None:
    assert is_of_the_place(error) == of_the_place


def test_a_place_may_fail_twice_on_the_way_and_a_bucket_that_was_waited_for_not_once() -> None:
    wrapped = {1: UserExceptionWithTraceback(SafetensorError("No space left on device"), "trace")}
    fails = PlaceFails()
    for step in (3, 5):
        for _ in range(2):
            fails.after_report(None, [{"stage": 0, "step": step}], None)  # an epoch's metrics are told before its checkpoint is written
            fails.after_exception(None, wrapped)
    fails.after_exception(None, {0: RuntimeError("peer left")})
    fails.after_report(None, [{"stage": 0, "step": 4}], None)
    with pytest.raises(SafetensorError, match="No space left on device"):
        fails.after_exception(None, wrapped)
    with pytest.raises(StorageError):
        PlaceFails().after_exception(None, {0: UserExceptionWithTraceback(AWAY, "trace")})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FULL, Hindered("OSError: [Errno 28] No space left on device: '/shared/x'")),
        (AWAY, Hindered(str(AWAY))),
        (FloatingPointError("loss is nan"), Failed("loss is nan")),
        (WorkerCrashedError(), None),
    ],
)
def test_a_trial_says_what_stopped_it_and_what_ray_meets_is_tried_again(
    error: Exception, told: Hindered | Failed | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_here(*_: Any) -> None:
        raise error

    reports: list[Any] = []
    monkeypatch.setattr(trial, "train_here", train_here)
    monkeypatch.setattr(trial.tune, "report", reports.append)
    monkeypatch.setenv("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
    run = TrackedRun(tmp_path, "sqlite:///x.db", "1", "feed", "0", sends=False)
    assignment = Assignment(0, "0000", small_base().model_dump_json(), run, Scoring("val_dice"))
    if told is None:
        with pytest.raises(WorkerCrashedError):
            trial.run_trial({"assignment": assignment})
    else:
        trial.run_trial({"assignment": assignment})
    assert reports == ([] if told is None else [{TOLD: told}])
