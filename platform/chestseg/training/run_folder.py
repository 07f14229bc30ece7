"""A run's folder where it may lie in a bucket: the process that starts, scores or sends a run works in a copy."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from chestseg.config import Experiment
from chestseg.config.location import is_uri
from chestseg.storage.objects import StorageError
from chestseg.storage.working_copy import WorkingCopy, working_copy
from chestseg.training.averaging import SNAPSHOTS
from chestseg.training.run import FINAL

JOURNAL, SENT = "journal.jsonl", "journal.sent"
"""The run's, and how much of it MLflow has, see `chestseg.tracking`."""
HEAVY = (f"{SNAPSHOTS}/", "probabilities/", FINAL)
"""What only its workers need."""
LEFT = 10.0
"""Seconds that a bucket is still asked after something went wrong."""


def is_light(name: str) -> bool:
    """Whether it is fetched where nobody trains."""
    return not name.startswith(HEAVY)


@contextlib.contextmanager
def run_folder(experiment: Experiment, role: str = "driver") -> Iterator[tuple[Experiment, WorkingCopy | None]]:
    """The experiment as this process sees it: as it is, or with a copy of its run's folder as `storage`, which is sent at the end.

    Args:
        experiment: what `storage` says.
        role: what this process does; of each role one process may work on a run on one machine.

    Raises:
        ValueError: another process of the role runs, or the bucket refuses or is away.
    """
    if not is_uri(experiment.storage):
        yield experiment, None
        return
    with folder_copy(experiment.run_folder, role) as copy:
        yield seen_in(copy, experiment), copy


def seen_in(copy: WorkingCopy, experiment: Experiment) -> Experiment:
    """The experiment whose run's folder is the copy's."""
    return experiment.model_copy(update={"storage": str(copy.folder.parent)})


@contextlib.contextmanager
def folder_copy(uri: str, role: str, wanted: Callable[[str], bool] = is_light) -> Iterator[WorkingCopy]:
    """A copy of what is `wanted` of a run's or a sweep's folder, sent when the block ends, in whatever way. Raises as above."""
    with working_copy(uri, role, wait=False) as copy:
        copy.fetch(wanted)
        try:
            yield copy
        except BaseException:
            copy.objects.patience = min(LEFT, copy.objects.patience)
            try:
                _send(copy)
            except StorageError as error:
                print(f"chestseg: note: {error}", file=sys.stderr)
            raise
        _send(copy)


@contextlib.contextmanager
def result_folder(location: str) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder for what several runs come to, and what keeps it safe now: nothing for a path; a bucket is sent it, and again at the end.

    Raises:
        ValueError: another process works there, or the bucket refuses or is away.
    """
    if not is_uri(location):
        yield Path(location), lambda: None
        return
    with folder_copy(location, "driver") as copy:
        yield copy.folder, copy.send


def _send(copy: WorkingCopy) -> None:
    """A worker that outlives its driver for a moment may have told more: its lines stay, ours come behind."""
    journal = copy.folder / JOURNAL
    with contextlib.suppress(FileNotFoundError):
        theirs, common = copy.objects.read(JOURNAL), copy.size(JOURNAL)
        if len(theirs) > common:
            ours = journal.read_bytes()[common:]
            _replace(journal, theirs + ours)
            (copy.folder / SENT).unlink(missing_ok=True)  # what MLflow was told twice it holds once
    copy.send()


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    os.replace(beside, path)
