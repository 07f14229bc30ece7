"""A sweep's runs in MLflow: a parent, a child for each trial, below it one for each stage. Only the sweep's driver talks to MLflow.

Everything is said to a journal first, the making of runs too, so an outage stops nothing. The trials' processes write what they
measure into the journals of their own run folders; the driver sends these and its own. What is sent twice changes nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

from chestseg.config import Experiment, Tracking
from chestseg.tracking.environment import checked_uri, connect, experiment_id, explained, reach, reason, troubles
from chestseg.tracking.journal import FILE, Entry, Files, Journal, Metric, Opening, RunStatus, Status, Tags, read_entries
from chestseg.tracking.recorder import milliseconds
from chestseg.tracking.run_ids import SWEEP, RunIds
from chestseg.tracking.runs import flattened, parameters_of, tags_of
from chestseg.tracking.sender import SENT, Sender, count_pending, send_all
from chestseg.tracking.tracked_run import RECORD, TrackedRun, load_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

OWN = "mlflow"
"""Sub-folder of the sweep's folder that holds the record and the journal of what the driver says."""
NUMBER, STATE, FOLDER = "trial", "trial_state", "folder"
"""Tags of a trial's run: its number, its state as the sweep's table has it, its run folder seen from the sweep's."""

TrialEnd = Literal["complete", "pruned", "failed"]
STATUS: dict[TrialEnd, RunStatus] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}

LOG = logging.getLogger(__name__)


def open_sweep(tracking: Tracking, folder: Path, name: str, digest: str, params: Mapping[str, Any]) -> SweepRuns:
    """Start a sweep's runs in MLflow, or go on with those of an earlier start in the same folder.

    Args:
        tracking: where, and under which MLflow experiment.
        folder: the sweep's.
        name: the sweep's, which its runs are called after.
        digest: of what shapes the sweep.
        params: the sweep's keys, a tree or flat; they become the parent run's parameters.

    Raises:
        ValueError: at the first start, MLflow can't be reached or refuses (later an outage only delays what is sent); the folder
            belongs to another sweep or MLflow.
    """
    own = folder.absolute() / OWN
    own.mkdir(parents=True, exist_ok=True)
    run = _reopened(load_run(own), tracking, digest) if is_sweep(folder) else _created(own, tracking, digest)
    runs = SweepRuns(run, name)
    runs.begin(params)
    return runs


def load_sweep_runs(folder: Path) -> SweepRuns:
    """The runs of a sweep that was started before, to send what is left of them.

    Raises:
        ValueError: the folder is not that of a tracked sweep.
    """
    return SweepRuns(load_run(folder.absolute() / OWN), folder.name)


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a tracked sweep."""
    return (folder / OWN / RECORD).exists()


class SweepRuns:
    """What the driver says of a sweep and its trials. In a `with` block the sweep's run ends as the block does, see `TrackedRun`.

    Args of the constructor are for `open_sweep` and `load_sweep_runs`.
    """

    def __init__(self, run: TrackedRun, name: str) -> None:
        self._run, self._name = run, name
        self.uri = run.uri
        self._journal = Journal(run.folder)
        self._trials: dict[int, TrackedRun] = {}
        self._ids: RunIds | None = None
        self._sending = threading.Lock()
        for entry, _ in read_entries(self._journal.path):
            self._remember(entry)

    @property
    def key(self) -> str:
        """Of the sweep: the value of its runs' tag `chestseg.sweep`."""
        return self._run.run_id

    @property
    def page(self) -> str:
        """Of MLflow's interface, below its address: the table of this sweep's runs."""
        mine = quote(f"tags.`{SWEEP}` = '{self.key}'")
        return f"#/experiments/{self._run.experiment_id}/runs?workflowType=machine_learning&searchFilter={mine}"

    def begin(self, params: Mapping[str, Any]) -> None:
        """Open the sweep's run, or set it running again."""
        self._say([Opening(self.key, self._name, None, tags_of(self._run.digest), flattened(params), milliseconds())])
        self._set_running(self.key)

    def open_trial(self, experiment: Experiment, dataset_hash: str, number: int, label: str | None = None) -> TrackedRun:
        """The runs of a trial and its stages, the same ones whenever it is opened again.

        Args:
            experiment: the trial's; its keys become parameters, its `run_folder` keeps the journal.
            dataset_hash: of the prepared dataset.
            number: the trial's.
            label: what its run is called, the number first: tables cut long names off; its number and name when None.

        Returns:
            What the trial's process records with. It never talks to MLflow: `send` does, here.

        Raises:
            ValueError: the run folder belongs to another run.
        """
        folder, key, now = Path(experiment.run_folder).absolute(), self._key(number), milliseconds()
        stages = tuple(f"{key}/{index}" for index in range(len(experiment.stages)))
        _require_own(folder, key)
        folder.mkdir(parents=True, exist_ok=True)
        run = TrackedRun(folder, self.uri, self._run.experiment_id, experiment.digest, key, stages, sends=False).save()
        tags = {**tags_of(experiment.digest, dataset_hash), **self._tags(number), FOLDER: os.path.relpath(folder, self._folder)}
        self._say([Opening(key, label or f"{number:04d} {self._name}", self.key, tags, parameters_of(experiment), now)])
        named = [f"{number:04d}.{index + 1}: {stage.resolution}" for index, stage in enumerate(experiment.stages)]
        self._say(Opening(stage, named[i], key, {"stage": str(i)}, {}, now + 1 + i) for i, stage in enumerate(stages))
        self._say([Tags(key, {STATE: "running"})])
        self._set_running(key, *self._unfinished(run))
        return run

    def close_trial(self, number: int, state: TrialEnd, metrics: Mapping[str, float] | None = None) -> None:
        """End the runs of a trial and of its stages, but for stages that finished; said again it changes nothing.

        Args:
            number: the trial's; one that never came to be opened gets a run without parameters.
            state: how it ended: MLflow's FINISHED, KILLED or FAILED, and tag `trial_state`.
            metrics: single values of the whole trial, such as its objective.
        """
        key, now = self._key(number), milliseconds()
        if number not in self._trials:
            self._say([Opening(key, f"{number:04d} {self._name}", self.key, self._tags(number), {}, now)])
        self._say(Metric(key, name, float(value), 0, now) for name, value in (metrics or {}).items())
        self._say([Tags(key, {STATE: state})])
        self._end(number, STATUS[state])

    def log_files(self, source: Path, artifact_path: str | None = None) -> None:
        """Keep a file, or what a folder holds, as artifacts of the sweep's run under `artifact_path` (the root when None)."""
        self._say([Files(self.key, str(Path(source).absolute()), artifact_path)])

    def close(self, status: RunStatus = "FINISHED") -> bool:
        """End the sweep's run, and as KILLED those of trials still open, and send all; says whether nothing is left to send.

        A trial that a stop interrupted keeps `trial_state` running: it goes on at the next start.
        """
        for number in self._trials:
            if not self._has_ended(self._key(number)):
                self._end(number, "KILLED")
        if not self._has_ended(self.key):
            self._say([Status(self.key, status, milliseconds())])
        return self.send()

    def send(self) -> bool:
        """Send what all journals hold; says whether nothing is left, and warns with the remedy where something is."""
        try:
            self.send_pending(connect(self.uri))
        except troubles() as error:
            left = f"{self.count_pending()} entries are kept, send them later with: chestseg sync {self._folder}"
            LOG.warning("MLflow at %s: %s; %s", self.uri, reason(error), left)
            return False
        return True

    @contextlib.contextmanager
    def sending(self, every: float = 2.0) -> Iterator[None]:
        """Send on a thread of its own during the block, every `every` seconds; an outage holds nothing up."""
        sender = Sender(self._run.folder, self.uri, every, send=lambda _, client: self.send_pending(client))
        try:
            yield
        finally:
            sender.close(timeout=15.0)

    def count_pending(self) -> int:
        """How many entries of all journals MLflow does not have yet."""
        return sum(count_pending(folder) for folder in self._folders())

    def forget_sent(self) -> None:
        """Let the next `send` begin every journal anew, for an MLflow that has lost what it was told."""
        for folder in self._folders():
            (folder / SENT).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close("FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED")

    @property
    def _folder(self) -> Path:
        return self._run.folder.parent

    def _folders(self) -> list[Path]:
        """Where the journals lie, the driver's own first: it opens the runs that the others speak of."""
        own = self._run.folder
        return [own, *(run.folder for run in self._trials.values() if run.folder != own and (run.folder / FILE).exists())]

    def _key(self, number: int) -> str:
        return f"{self.key}/{number:04d}"

    def _tags(self, number: int) -> dict[str, str]:
        return {NUMBER: str(number), STATE: "running"}

    def _say(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        self._journal.append(entries)
        for entry in entries:
            self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        """Know a trial by what opened it and its stages. One that was never opened has no folder: nothing lies but in the driver's."""
        if not isinstance(entry, Opening) or entry.parent is None:
            return
        number = int(entry.run.split("/")[1])
        if entry.parent == self.key:
            folder = Path(os.path.normpath(self._folder / entry.tags.get(FOLDER, OWN)))
            digest = entry.tags.get("config_digest", "")
            opened = TrackedRun(folder, self.uri, self._run.experiment_id, digest, entry.run, sends=False)
            self._trials.setdefault(number, opened)
        elif entry.run not in self._trials[number].stage_run_ids:
            trial = self._trials[number]
            self._trials[number] = replace(trial, stage_run_ids=(*trial.stage_run_ids, entry.run))

    def _has_ended(self, run: str) -> bool:
        return self._journal.status(run) not in (None, "RUNNING")

    def _set_running(self, *runs: str) -> None:
        self._say(Status(run, "RUNNING", milliseconds()) for run in runs if self._has_ended(run))

    def _unfinished(self, trial: TrackedRun) -> list[str]:
        """Stages that have not finished, neither by the word of the trial's process nor by the driver's."""
        said = (entry for entry, _ in read_entries(trial.folder / FILE) if isinstance(entry, Status))
        finished = {entry.run for entry in said if entry.status == "FINISHED"}
        return [run for run in trial.stage_run_ids if run not in finished and self._journal.status(run) != "FINISHED"]

    def _end(self, number: int, status: RunStatus) -> None:
        trial, now = self._trials[number], milliseconds()
        self._say(Status(run, status, now) for run in (*self._unfinished(trial), trial.run_id))

    def send_pending(self, client: MlflowClient) -> int:
        """Send what all journals hold beyond what was sent before, and return how many entries that was.

        Raises:
            One of `troubles()`: MLflow is away or refuses; what was sent until then is remembered.
        """
        with self._sending:
            ids, self._ids = self._ids or RunIds(client, self._run.experiment_id, self.key), None  # forgotten if anything goes wrong
            sent = send_all(self._folders(), client, ids)
            self._ids = ids
        return sent


def _created(own: Path, tracking: Tracking, digest: str) -> TrackedRun:
    client = reach(tracking.uri)
    with explained(tracking.uri):
        home = experiment_id(client, tracking.experiment)
    return TrackedRun(own, checked_uri(tracking.uri), home, digest, f"sweep-{uuid.uuid4().hex[:12]}", sends=False).save()


def _reopened(run: TrackedRun, tracking: Tracking, digest: str) -> TrackedRun:
    """The sweep's run of an earlier start. Where MLflow has lost it, as with a new database, all that was ever said is sent again."""
    sweep = run.folder.parent
    if run.digest != digest:
        raise ValueError(f"{sweep} belongs to a sweep of digest {run.digest}, not {digest}: give another name or storage")
    if run.uri != checked_uri(tracking.uri):
        raise ValueError(f"{sweep} is tracked at {run.uri}, not {checked_uri(tracking.uri)}: set tracking.uri back")
    try:
        client = reach(run.uri)
    except ValueError as error:
        LOG.warning("%s; the sweep goes on, and what it has to say is kept in %s", error, run.folder / FILE)
        return run
    with explained(run.uri):
        if not (run.folder / SENT).exists() or run.run_id in RunIds(client, run.experiment_id, run.run_id):
            return run
        LOG.warning("MLflow at %s has lost the runs of %s: all is sent again", run.uri, sweep)
        run = replace(run, experiment_id=experiment_id(client, tracking.experiment)).save()
    SweepRuns(run, sweep.name).forget_sent()
    return run


def _require_own(folder: Path, key: str) -> None:
    if (folder / RECORD).exists() and load_run(folder).run_id != key:
        raise ValueError(f"{folder} belongs to another run: give the sweep another name or storage, or delete that folder")
