"""Rank 0's end of a tracked run: metrics go to the journal and on to MLflow while training goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from chestseg.tracking.journal import Journal, Metric, Status
from chestseg.tracking.sender import Sender, count_pending
from chestseg.tracking.system import SystemMetrics

if TYPE_CHECKING:
    from chestseg.tracking.tracked_run import TrackedRun


class Recorder:
    """Records metrics of a run and its stages. Open one in one process at a time, and close it, or use it in a `with` block."""

    def __init__(self, run: TrackedRun, system_every: float | None = 30.0, sends: bool = True) -> None:
        """Open the journal and start sending.

        Args:
            run: the tracked run.
            system_every: seconds between points of the machine's load (of this process's machine); None records none.
            sends: False where another process sends the journal to MLflow, which this one then never talks to.
        """
        self._run = run
        self._journal = Journal(run.folder)
        self._sender = Sender(run.folder, run.uri) if sends else None
        self._system = SystemMetrics(self._record_system, system_every) if system_every else None

    def record(self, values: Mapping[str, float], step: int, stage: int | None = None) -> None:
        """Keep one point of each curve; safe on disk on return, sent when MLflow can be reached.

        Args:
            values: by MLflow's key; a key whose `step` is held already is dropped, so a resumed training may repeat itself.
            step: position on the curve's horizontal axis, such as the epoch.
            stage: position in the resolution schedule; None for the job's own run.
        """
        run, now = self._run.run_of(stage), milliseconds()
        self._journal.append(Metric(run, key, float(value), step, now) for key, value in values.items())

    def finish_stage(self, stage: int) -> None:
        """End a stage's run as FINISHED."""
        self._journal.append([Status(self._run.run_of(stage), "FINISHED", milliseconds())])

    def close(self, timeout: float = 15.0) -> int:
        """Stop, send what can be sent within `timeout` seconds, and return how many entries are left to send."""
        if self._system:
            self._system.close()
        return self._sender.close(timeout) if self._sender else count_pending(self._run.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _record_system(self, values: Mapping[str, float]) -> None:
        run, now = self._run.run_id, milliseconds()
        points = (Metric(run, key, float(value), self._journal.next_step(run, key), now) for key, value in values.items())
        self._journal.append(points)


def milliseconds() -> int:
    """Now, in MLflow's clock."""
    return int(time.time() * 1000)
