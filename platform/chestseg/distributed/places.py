"""Which errors are of the place where a training works: a full disk, a bucket or a share that is away. Restarts mend none of them."""

from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.train import UserCallback
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from chestseg.files import NO_SPACE
from chestseg.storage.objects import StorageError

TRIES = 3
"""Starts of the workers that a place may fail, one after the other. A bucket was waited for by each, and may fail one."""


def is_of_the_place(error: BaseException) -> bool:
    """Whether another trial would meet an error as well, and none once the place is mended.

    Args:
        error: as it was raised; of a task or of a trial's workers, what these raised counts.
    """
    match error:
        case WorkerGroupError():
            return any(map(is_of_the_place, error.worker_failures.values()))
        case ControllerError():
            return is_of_the_place(error.controller_failure)
        case UserExceptionWithTraceback():
            return is_of_the_place(_raised(error))
        case RayTaskError():
            return is_of_the_place(error.cause)
        case RayError():
            return False  # a lost process or node; Ray's time-outs are OSErrors by name only
    return isinstance(error, StorageError | OSError) or NO_SPACE in str(error)


class PlaceFails(UserCallback):
    """Ends a run that its place fails again and again, however many restarts lost workers are allowed."""

    def __init__(self) -> None:
        self.failed, self.reached = 0, (-1, -1)

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Where the workers have come further than any before them, the next failure is the first one."""
        told = metrics[0]
        if "step" in told and (reached := (told["stage"], told["step"])) > self.reached:
            self.failed, self.reached = 0, reached

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raises what was met when the place has failed too often; no restart follows what a callback raises."""
        found = [error for error in map(_raised, worker_exceptions.values()) if is_of_the_place(error)]
        self.failed += bool(found)
        if found and (isinstance(found[0], StorageError) or self.failed == TRIES):
            raise found[0]


def _raised(error: Exception) -> BaseException:
    return error._base_exc if isinstance(error, UserExceptionWithTraceback) else error
