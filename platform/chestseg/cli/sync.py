"""`chestseg sync DIR`: send MLflow what a run, or a sweep and its trials, kept while MLflow could not be reached."""

from pathlib import Path

from chestseg.config.location import a_folder, is_uri
from chestseg.files import exclusive
from chestseg.tracking.environment import connect, reach, reason, troubles
from chestseg.tracking.sender import count_pending, send_pending
from chestseg.tracking.sweep_runs import is_sweep, load_sweep_runs
from chestseg.tracking.tracked_run import load_run
from chestseg.training.run_folder import folder_copy


def run(run_dir: str) -> int:
    """Send what is left of the run's journal, or of all journals of a sweep that is not running, and print how much that was.

    Raises:
        ValueError: the folder is not a tracked run's or sweep's, or MLflow is away or refuses.
    """
    if is_uri(run_dir):
        with folder_copy(a_folder(run_dir), "sync") as copy:
            return _sync(copy.folder, run_dir)
    return _sync(Path(run_dir), run_dir)


def _sync(folder: Path, run_dir: str) -> int:
    """As `run`, of a folder that is called `run_dir`."""
    if is_sweep(folder):
        return _sync_sweep(folder)
    tracked = load_run(folder)
    if not tracked.sends:
        raise ValueError(f"{run_dir} is a trial's: give the folder of its sweep")
    client = reach(tracked.uri)
    try:
        sent = send_pending(tracked.folder, client)
    except troubles() as error:
        raise _stopped(run_dir, tracked.uri, error, count_pending(tracked.folder)) from error
    return _tell(run_dir, tracked.uri, sent)


def _sync_sweep(folder: Path) -> int:
    with exclusive(folder, "tuned"):  # two that send at once would make runs twice
        runs = load_sweep_runs(folder)
        reach(runs.uri)
        try:
            sent = runs.send_pending(connect(runs.uri))
        except troubles() as error:
            raise _stopped(folder, runs.uri, error, runs.count_pending()) from error
    return _tell(folder, runs.uri, sent)


def _stopped(folder: str | Path, uri: str, error: Exception, left: int) -> ValueError:
    return ValueError(f"{folder}: MLflow at {uri} stopped taking entries ({reason(error)}): {left} are left, try again")


def _tell(folder: str | Path, uri: str, sent: int) -> int:
    print(f"{folder}: {sent} entries sent to {uri}, nothing is left")
    return 0
