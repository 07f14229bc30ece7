"""A job's runs in MLflow, by id: what the driver and rank 0 say through them outlives an outage of MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chestseg.files import whole_file
from chestseg.storage.working_copy import name_of
from chestseg.tracking.environment import connect, explained, reason, troubles
from chestseg.tracking.journal import FILE, Files, Journal, Metric, Registration, RunStatus, Status, read_entries
from chestseg.tracking.recorder import Recorder, milliseconds
from chestseg.tracking.registry import find_version
from chestseg.tracking.sender import count_pending, send_pending

RECORD = "mlflow.json"
CURVES = "curves.png"

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedRun:
    """A job's runs, by id: picklable, so the driver hands it to the workers.

    After the start everything goes through the journal: what MLflow can't take at once it gets at the next `send`, at the latest by
    `chestseg sync FOLDER`. Used in a `with` block the runs end as the block does: FINISHED, FAILED, or KILLED by Ctrl-C or an exit.
    """

    folder: Path
    uri: str
    experiment_id: str
    digest: str
    """Of the experiment's configuration."""
    run_id: str
    stage_run_ids: tuple[str, ...] = ()
    sends: bool = True
    """False for a sweep's trial, whose ids are keys of the sweep's: the sweep's driver sends, see `sweep_runs`."""

    def run_of(self, stage: int | None) -> str:
        """Id of a stage's run, or of the job's for None."""
        return self.run_id if stage is None else self.stage_run_ids[stage]

    def recorder(self, system_every: float | None = 30.0, sends: bool = True) -> Recorder:
        """Where rank 0 records metrics while it trains; a trial's keeps them for the driver, whatever `sends` says."""
        return Recorder(self, system_every, sends and self.sends)

    def log_files(self, source: Path, artifact_path: str | None = None, stage: int | None = None) -> None:
        """Keep a file, or what a folder holds, as artifacts under `artifact_path` (the root when None). Sent by `send`."""
        Journal(self.folder).append([Files(self.run_of(stage), self._relative(source), artifact_path)])

    def log_curves(self) -> None:
        """Draw loss and Dice over the epochs of every stage from the journal and keep the picture."""
        points = [entry for entry, _ in read_entries(self.folder / FILE) if isinstance(entry, Metric)]
        stages = {f"stage {i + 1}": [p for p in points if p.run == run] for i, run in enumerate(self.stage_run_ids)}
        from chestseg.tracking.curves import draw_curves  # matplotlib takes seconds to import, and every worker imports this module

        draw_curves(stages, self.folder / CURVES)
        self.log_files(self.folder / CURVES)

    def register(self, bundle: Path, model: str, tags: Mapping[str, Any]) -> str | None:
        """Register a bundle as the candidate version of `model` and return the version; None where MLflow is away, for later.

        Args:
            bundle: the bundle's folder.
            model: registered model's name.
            tags: what the promotion gate reads, see `promotion.promote`, and whatever else describes the version.
        """
        entry = Registration(self.run_id, self._relative(bundle), model, {key: str(value) for key, value in tags.items()})
        Journal(self.folder).append([entry])
        if not self.send():
            return None
        with explained(self.uri):
            return find_version(connect(self.uri), model, self.run_id, bundle)

    def send(self) -> bool:
        """Send what the journal holds; says whether nothing is left, and warns with the remedy where something is."""
        if not self.sends:
            return not count_pending(self.folder)
        try:
            send_pending(self.folder, connect(self.uri))
        except troubles() as error:
            left = f"{count_pending(self.folder)} entries are kept, send them later with: chestseg sync {name_of(self.folder)}"
            LOG.warning("MLflow at %s: %s; %s", self.uri, reason(error), left)
            return False
        return True

    def close(self, status: RunStatus = "FINISHED") -> bool:
        """End the job's run and those of stages that have not ended, once, and send all; says whether nothing is left to send."""
        assert self.sends, "a trial's runs are ended by its sweep's driver"
        journal, now = Journal(self.folder), milliseconds()
        running = [run for run in (*self.stage_run_ids, self.run_id) if journal.status(run) in (None, "RUNNING")]
        journal.append(Status(run, status, now) for run in running)
        return self.send()

    def save(self) -> Self:
        """Write the ids into the folder, for the next start."""
        record = asdict(self)
        del record["folder"]
        with whole_file(self.folder / RECORD) as file:
            file.write_text(json.dumps(record, indent=1))
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close("FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED")

    def _relative(self, path: Path) -> str:
        path, folder = Path(path).absolute(), self.folder.absolute()
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def load_run(run_dir: Path) -> TrackedRun:
    """The runs a folder belongs to.

    Raises:
        ValueError: it belongs to none.
    """
    try:
        record = json.loads((run_dir / RECORD).read_text())
    except FileNotFoundError:
        raise ValueError(f"{run_dir} is not the folder of a tracked run, it has no {RECORD}: give one of those under `storage`") from None
    return TrackedRun(folder=run_dir, **{**record, "stage_run_ids": tuple(record["stage_run_ids"])})
