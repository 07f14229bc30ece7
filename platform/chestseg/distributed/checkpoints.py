"""Checkpoints of a run whose folder all workers share: whole or not there, and the newest one counts, whoever was killed when."""

from pathlib import Path

import ray.train.collective

from chestseg.storage.working_copy import CHECKPOINTS
from chestseg.training.checkpoint import Checkpoint, load_checkpoint
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter, Report


class FolderCheckpoints:
    """In a folder of the run's own, and not among those that Ray Train keeps.

    Ray Train counts a checkpoint once its controller has heard of it, which looks every two seconds: a kill before that would cost two
    intervals, and leave a folder that nobody removes.
    """

    def __init__(self, folder: Path, group: Group) -> None:
        self.folder, self.group = folder / CHECKPOINTS, group
        self.kept = FolderReporter(self.folder)

    def resume(self, digest: str) -> Checkpoint | None:
        """The newest, the same on all ranks."""
        if self.group.size == 1:
            return self.kept.resume(digest)
        newest = self.kept.newest() if self.group.rank == 0 else None
        name = ray.train.collective.broadcast_from_rank_zero(newest.name if newest else None)
        return load_checkpoint(self.folder / name, digest) if name else None

    def keep(self, report: Report, checkpoint: Checkpoint | None) -> None:
        """Write the checkpoint that the first worker has."""
        if checkpoint:
            self.kept.report(report, checkpoint)
