"""A run whose folder lies in a bucket: checkpoints go there beside the training, and the driver tells MLflow what is safe there."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray.train.collective

from chestseg.config import Experiment
from chestseg.storage.objects import PATIENCE, Objects, StorageError, patience
from chestseg.storage.uploads import Uploads
from chestseg.storage.working_copy import CHECKPOINTS, WorkingCopy, working_copy
from chestseg.tracking.sender import Sender, send_pending
from chestseg.tracking.tracked_run import TrackedRun
from chestseg.training.checkpoint import Checkpoint, load_checkpoint
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter, Report
from chestseg.training.run import INITIAL
from chestseg.training.run_folder import JOURNAL, is_light, seen_in

WRITTEN_ANEW = ("bundle/", "evaluation/", "probabilities/", "choice/")
"""Folders that a worker makes again and does not read."""


@dataclass(frozen=True)
class Bucket:
    """What workers are told of it."""

    uri: str
    """Of the run's folder."""
    patience: float
    """Seconds, the driver's."""


def bucket_of(copy: WorkingCopy | None) -> Bucket | None:
    """What the workers of a run are told."""
    return Bucket(copy.uri, patience()) if copy else None


@contextlib.contextmanager
def handed_over(copy: WorkingCopy | None, run: TrackedRun) -> Iterator[None]:
    """Leave a run's folder to its workers for the block: all of it is sent before and fetched after.

    Meanwhile this process sends MLflow the part of the journal that lies in the bucket. What a lost machine had not put there is then
    trained and told again, and is told once.

    Raises:
        ValueError: the bucket is away or refuses.
    """
    if copy is None:
        yield
        return
    copy.send()
    at_once = Objects(copy.uri, patience=0.0)

    taken_back = threading.Event()

    def send(folder: Path, client: Any) -> int:
        if not taken_back.is_set():
            with contextlib.suppress(FileNotFoundError, StorageError):
                at_once.download(JOURNAL, folder / JOURNAL)
        return send_pending(folder, client)

    sender = Sender(copy.folder, run.uri, send=send)
    try:
        yield
    except BaseException:
        sender.close(timeout=15.0)
        taken_back.set()
        with contextlib.suppress(FileNotFoundError, StorageError):
            at_once.download(JOURNAL, copy.folder / JOURNAL)
            copy.know(JOURNAL)
        raise
    sender.close(timeout=15.0)
    taken_back.set()
    copy.fetch(is_light)


class BucketCopy:
    """A worker's copy of the run's folder: every rank resumes from it, the first keeps checkpoints in it and sends it."""

    def __init__(self, copy: WorkingCopy, group: Group) -> None:
        self.copy, self.group = copy, group
        self.kept = FolderReporter(copy.folder / CHECKPOINTS)
        self.uploads = Uploads(copy) if group.rank == 0 else None

    def resume(self, digest: str) -> Checkpoint | None:
        """The newest whole checkpoint in the bucket, the same on all ranks."""
        newest = (self.copy.checkpoints() or [None])[-1] if self.group.rank == 0 else None
        if self.group.size > 1:
            newest = ray.train.collective.broadcast_from_rank_zero(newest)
        if newest is None:
            return None
        self.copy.fetch_checkpoint(newest)
        return load_checkpoint(self.copy.folder / CHECKPOINTS / newest, digest)

    def keep(self, report: Report, checkpoint: Checkpoint | None) -> None:
        """Write the checkpoint to this machine's disk, and have it sent; does not wait for the bucket.

        Raises:
            ValueError: an earlier upload failed for good.
        """
        if checkpoint:
            self.kept.report(report, checkpoint)
        if self.uploads:
            self.uploads.wake()


@contextlib.contextmanager
def at_work(
    bucket: Bucket | None, experiment: Experiment, run: TrackedRun, group: Group
) -> Iterator[tuple[Experiment, TrackedRun, BucketCopy | None]]:
    """The experiment and its tracked run as a worker sees them; where they lie in a bucket, all is sent when the block ends.

    Raises:
        ValueError: the bucket is away or refuses.
    """
    if bucket is None:
        yield experiment, run, None
        return
    os.environ[PATIENCE] = str(bucket.patience)
    with working_copy(bucket.uri, f"rank-{group.rank}") as copy:
        copy.fetch((lambda name: not name.startswith(WRITTEN_ANEW)) if group.rank == 0 else (lambda name: name == INITIAL))
        own = BucketCopy(copy, group)
        try:
            yield seen_in(copy, experiment), replace(run, folder=copy.folder, sends=False), own
        except StorageError:
            raise  # waiting for the bucket once more would only delay what it says
        except BaseException:
            if own.uploads:
                with contextlib.suppress(StorageError):
                    own.uploads.close()
            raise
        if own.uploads:
            own.uploads.close()
