"""A sweep for its dashboards: where its folder lies in a bucket, a copy of what its driver says, which keeps up with it."""

import contextlib
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from chestseg.config import Sweep
from chestseg.config.location import is_uri
from chestseg.distributed.course import described, directions_of
from chestseg.distributed.dashboards import NOTE
from chestseg.storage.objects import StorageError
from chestseg.storage.working_copy import WorkingCopy, working_copy
from chestseg.tracking.sweep_runs import OWN
from chestseg.tuning.compute import Costs
from chestseg.tuning.mirror import Mirror
from chestseg.tuning.records import FILE, Entry, Measured, TrialRecord, read_journal, records_of
from chestseg.tuning.space import experiment_of

FETCHED_EVERY = 30.0
"""Seconds."""


class ShownSweep:
    """A sweep as this machine sees it. Nothing is ever sent to its folder."""

    def __init__(self, sweep: Sweep, copy: WorkingCopy | None = None) -> None:
        self.sweep, self._copy = sweep, copy
        self._mirror: Mirror | None = None
        self._again = 0.0
        if copy and "optuna" not in sweep.model_fields_set:
            # Optuna's own database stays with the driver, which tells it from the journal: so is one of this copy's.
            self.sweep = sweep.model_copy(update={"storage": str(copy.folder.parent), "optuna": f"sqlite:///{copy.folder}/optuna.db"})
            self._mirror = Mirror(self.sweep.optuna, sweep.name, sweep.digest, directions_of(sweep), self._describe)
        elif copy:
            self.sweep = sweep.model_copy(update={"storage": str(copy.folder.parent)})

    def fetch(self) -> None:
        """Bring what the driver has said since.

        Raises:
            ValueError: the bucket is away or refuses.
        """
        if self._copy:
            self._copy.fetch(_is_said)
            self._again = time.monotonic() + FETCHED_EVERY
        if self._mirror:
            self._mirror.bring(records_of(self._entries()))

    def keep_up(self) -> None:
        """Bring it where that is due; a bucket that is away is asked again the next time."""
        if self._copy and time.monotonic() >= self._again:
            self._copy.objects.patience = 0.0
            with contextlib.suppress(StorageError):
                self.fetch()

    def close(self) -> None:
        """Let go of Optuna's database."""
        if self._mirror:
            self._mirror.close()

    def _entries(self) -> list[Entry]:
        journal = Path(self.sweep.folder, FILE)
        return read_journal(journal) if journal.exists() else []

    @cached_property
    def _costs(self) -> Costs:
        """What its trials cost, which a driver writes before it asks for the first."""
        [costs] = [entry.value["costs"] for entry in self._entries() if isinstance(entry, Measured) and entry.key == "costs"]
        return Costs.model_validate(costs)

    def _describe(self, record: TrialRecord) -> dict[str, Any]:
        try:
            tried = experiment_of(self.sweep, self.sweep.experiment, record.params, self._costs, record.number)
        except ValueError:
            return described(record, None)
        return described(record, tried)


@contextlib.contextmanager
def shown_sweep(sweep: Sweep) -> Iterator[ShownSweep]:
    """The sweep to show: as it is, or with a copy of its folder as `storage` for the block.

    Raises:
        ValueError: its dashboards are shown on this machine already, or the bucket refuses or is away.
    """
    if not is_uri(sweep.storage):
        yield ShownSweep(sweep)
        return
    with working_copy(sweep.folder, "dashboards", wait=False) as copy, contextlib.closing(ShownSweep(sweep, copy)) as shown:
        shown.fetch()
        yield shown


def _is_said(name: str) -> bool:
    """Of the driver: its journal, what it says to MLflow, and where Ray's dashboard is."""
    return name in (FILE, NOTE) or name.startswith(f"{OWN}/")
