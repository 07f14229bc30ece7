"""A sweep whose folder lies in a bucket: the driver's journal is there before anybody acts on it, trials work in copies of their own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from chestseg.config import Experiment, Sweep
from chestseg.config.location import inside, is_uri
from chestseg.distributed.bucket_run import Bucket
from chestseg.storage.objects import patience
from chestseg.storage.working_copy import WorkingCopy
from chestseg.tracking.journal import FILE
from chestseg.tracking.tracked_run import RECORD
from chestseg.training.run_folder import folder_copy

TRIALS = "trials/"
"""Folder of the trials' run folders in the sweep's."""


class SweepBucket:
    """What the course of a sweep does where its folder is a working copy."""

    def __init__(self, copy: WorkingCopy) -> None:
        self.copy = copy

    def of(self, experiment: Experiment) -> Bucket:
        """What a trial's process is told; all that the driver has written is safe on return. Raises StorageError."""
        self.copy.send()
        return Bucket(inside(self.copy.uri, self._name(experiment)), patience())

    def keep(self) -> None:
        """Send what the driver has written. Raises StorageError."""
        self.copy.send()

    def hear(self, experiment: Experiment | None) -> None:
        """Bring what a trial's process has to say to MLflow. Raises StorageError."""
        if experiment:
            self.copy.fetch(lambda name: name.endswith(f"/{FILE}"), self._name(experiment))

    def hear_all(self) -> None:
        """As `hear`, of all trials."""
        self.copy.fetch(lambda name: name.endswith(f"/{FILE}"), TRIALS.rstrip("/"))

    def remove(self, experiment: Experiment, names: tuple[str, ...]) -> None:
        """Remove files and folders of a trial's run from the bucket. Raises StorageError."""
        own = self._name(experiment)
        found = self.copy.objects.list(own)
        self.copy.objects.delete(name for name in found if name.removeprefix(f"{own}/").split("/")[0] in names)

    def _name(self, experiment: Experiment) -> str:
        return Path(experiment.run_folder).relative_to(self.copy.folder).as_posix()


@contextlib.contextmanager
def sweep_folder(sweep: Sweep) -> Iterator[tuple[Sweep, SweepBucket | None]]:
    """The sweep as its driver sees it: as it is, or with a copy of its folder as `storage`, which is sent at the end.

    Optuna's database, where it is the sweep's own, stays in the copy: each start tells it anew from the journal.

    Raises:
        ValueError: another process drives it on this machine, or the bucket refuses or is away.
    """
    if not is_uri(sweep.storage):
        yield sweep, None
        return
    with folder_copy(sweep.folder, "driver", _is_drivers) as copy:
        changes = {"storage": str(copy.folder.parent)}
        if "optuna" not in sweep.model_fields_set:
            changes["optuna"] = f"sqlite:///{copy.folder}/optuna.db"
        yield sweep.model_copy(update=changes), SweepBucket(copy)


def _is_drivers(name: str) -> bool:
    """Of the trials only what they say and who they are."""
    return not name.startswith(TRIALS) or name.endswith((f"/{FILE}", f"/{RECORD}"))
