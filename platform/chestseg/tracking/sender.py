"""The journal's way to MLflow: in order, remembering on disk how far it came, at whatever time MLflow can be reached."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chestseg.files import whole_file
from chestseg.tracking.environment import connect, reason, troubles
from chestseg.tracking.journal import FILE, Entry, Files, Metric, Opening, Registration, Status, Tags, read_entries
from chestseg.tracking.registration import register_entry
from chestseg.tracking.run_ids import RunIds

if TYPE_CHECKING:
    from mlflow import MlflowClient

SENT = "journal.sent"
BATCH = 1000
"""Most metrics MLflow takes in one request."""

LOG = logging.getLogger(__name__)


def send_pending(folder: Path, client: MlflowClient, ids: RunIds | None = None) -> int:
    """Send what the journal in `folder` holds beyond what was sent before, and return how many entries that was.

    A kill between sending and remembering makes the next call send a batch again, which changes nothing in MLflow.

    Args:
        folder: of the journal.
        client: of MLflow.
        ids: knows MLflow's ids where the journal calls runs by keys of ours; None where it calls them by MLflow's ids.

    Raises:
        One of `troubles()`: MLflow is away or refuses; what was sent until then is remembered.
    """
    sent = 0
    for batch, end in _batches(folder):
        _send(client, folder, batch, ids)
        with whole_file(folder / SENT) as file:
            file.write_text(str(end))
        sent += len(batch)
    return sent


def send_all(folders: Iterable[Path], client: MlflowClient, ids: RunIds) -> int:
    """Send several journals in this order; what is wrong with one is raised when the others are sent.

    Raises:
        One of `troubles()`.
    """
    sent, wrong = 0, None
    for folder in folders:
        try:
            sent += send_pending(folder, client, ids)
        except troubles() as error:
            wrong = wrong or error
            client.search_experiments(max_results=1)  # raises where MLflow is away altogether: then the others wait too
    if wrong:
        raise wrong
    return sent


def count_pending(folder: Path) -> int:
    """How many entries of the journal MLflow does not have yet."""
    return sum(1 for _ in read_entries(folder / FILE, _sent(folder)))


class Sender:
    """Sends on a thread of its own and never disturbs the training: what can't be sent stays in the journal."""

    def __init__(
        self,
        folder: Path,
        uri: str,
        every: float = 2.0,
        longest_wait: float = 60.0,
        send: Callable[[Path, MlflowClient], int] = send_pending,
    ) -> None:
        """Start sending.

        Args:
            folder: the run's.
            uri: of MLflow.
            every: seconds between looks at the journal.
            longest_wait: seconds that the doubling pauses of an outage grow to.
            send: sends what is pending in `folder` and wherever else it looks.
        """
        self._folder, self._uri, self._every, self._longest_wait, self._send = folder, uri, every, longest_wait, send
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> int:
        """Try once more to send everything, for at most `timeout` seconds, and return how many entries are left."""
        self._closing.set()
        self._thread.join(timeout)
        return count_pending(self._folder)

    def _run(self) -> None:
        client, pause, away = None, self._every, False
        closing = False
        while not closing:
            closing = self._closing.wait(pause)
            try:
                client = client or connect(self._uri)
                self._send(self._folder, client)
            except troubles() as error:
                pause = min(2 * pause, self._longest_wait)
                if not away:
                    LOG.warning("MLflow at %s: %s; metrics are kept in %s and sent later", self._uri, reason(error), self._folder / FILE)
                away = True
            else:
                pause, away = self._every, False


def _batches(folder: Path) -> Iterator[tuple[list[Entry], int]]:
    """Metrics up to `BATCH` together, everything else alone, each with the offset after it."""
    entries = read_entries(folder / FILE, _sent(folder))
    for are_metrics, group in itertools.groupby(entries, key=lambda pair: isinstance(pair[0], Metric)):
        while chunk := list(itertools.islice(group, BATCH if are_metrics else 1)):
            yield [entry for entry, _ in chunk], chunk[-1][1]


def _sent(folder: Path) -> int:
    path = folder / SENT
    offset = int(path.read_text()) if path.exists() else 0
    journal = folder / FILE
    return offset if journal.exists() and offset <= journal.stat().st_size else 0


def _send(client: MlflowClient, folder: Path, batch: list[Entry], ids: RunIds | None) -> None:
    if isinstance(batch[0], Opening):
        assert ids, "a journal with openings is sent by the sweep it belongs to"
        ids.make(batch[0])
        return
    if ids:
        batch = [replace(entry, run=ids.of(entry.run)) for entry in batch if not ids.is_deleted(entry.run)]
    match batch[0] if batch else None:
        case Metric():
            _send_metrics(client, [entry for entry in batch if isinstance(entry, Metric)])
        case Files() as files:
            _send_files(client, folder, files)
        case Status() as change:
            _send_status(client, change)
        case Registration() as registration:
            register_entry(client, folder, registration)
        case Tags() as change:
            for key, value in change.tags.items():
                client.set_tag(change.run, key, value)


def _send_metrics(client: MlflowClient, metrics: list[Metric]) -> None:
    from mlflow.entities import Metric as Point

    for run in dict.fromkeys(metric.run for metric in metrics):
        points = [Point(m.key, m.value, m.time, m.step) for m in metrics if m.run == run]
        client.log_batch(run, metrics=points, synchronous=True)


def _send_files(client: MlflowClient, folder: Path, files: Files) -> None:
    source = folder / files.source
    if source.is_dir():
        client.log_artifacts(files.run, str(source), files.target)
    elif source.is_file():
        client.log_artifact(files.run, str(source), files.target)
    else:
        LOG.warning("%s is no longer there: MLflow run %s goes without it", source, files.run)


def _send_status(client: MlflowClient, change: Status) -> None:
    if change.status == "RUNNING":
        client.update_run(change.run, status=change.status)
    else:
        client.set_terminated(change.run, status=change.status, end_time=change.time)
