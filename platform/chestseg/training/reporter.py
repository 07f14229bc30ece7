"""Where a run's metrics and checkpoints go: the engine reports, and does not know to whom."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chestseg.files import whole_folder
from chestseg.storage.working_copy import STATE
from chestseg.training.checkpoint import Checkpoint, load_checkpoint


@dataclass(frozen=True)
class Report:
    """What a run says at the end of an epoch (`epoch` from 0), of a stage (`epoch` None), or at a checkpoint (no metrics)."""

    stage: int
    epoch: int | None
    step: int
    """Optimiser steps over all stages."""
    metrics: dict[str, float]


class Reporter(Protocol):
    """Receives reports on every worker; a checkpoint is given on rank 0 only."""

    def resume(self, digest: str) -> Checkpoint | None:
        """The newest whole checkpoint, None at the first start; one of another `digest` is refused."""
        ...

    def report(self, report: Report, checkpoint: Checkpoint | None) -> None:
        """Take metrics and perhaps a checkpoint; returns once the checkpoint is safe."""
        ...

    def after_step(self, steps: int) -> bool:
        """Hear that so many steps are done; whether this worker was told that its machine is to go."""
        ...


class FolderReporter:
    """Keeps the newest checkpoints in a folder and all reports in memory: a run without Ray."""

    KEPT = 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports: list[Report] = []

    def resume(self, digest: str) -> Checkpoint | None:
        """The newest checkpoint in the folder."""
        newest = self.newest()
        return load_checkpoint(newest, digest) if newest else None

    def newest(self) -> Path | None:
        """The newest whole checkpoint's folder; what a kill left unfinished is removed."""
        for unfinished in self.folder.glob(".step-*"):
            shutil.rmtree(unfinished)
        return max(self._whole(), default=None)

    def report(self, report: Report, checkpoint: Checkpoint | None) -> None:
        """Keep the report; write the checkpoint whole, then drop the oldest."""
        self.reports.append(report)
        if checkpoint is None:
            return
        position = checkpoint.progress.position
        with whole_folder(self.folder / f"step-{position.steps_done:09d}-stage{position.stage}") as temporary:
            checkpoint.save(temporary)
        kept = sorted(self._whole())[-self.KEPT :]
        for other in set(self.folder.glob("step-*")) - set(kept):
            shutil.rmtree(other)

    def _whole(self) -> Iterator[Path]:
        """Where a rename is not atomic, as on a mounted bucket, a kill leaves a part under the final name: its last file tells."""
        return (path.parent for path in self.folder.glob(f"step-*/{STATE}"))

    def after_step(self, steps: int) -> bool:
        """Nobody tells it."""
        return False
