"""`chestseg sync RUN_DIR`: send MLflow what a run kept while MLflow could not be reached."""

from pathlib import Path

from chestseg.tracking.environment import reach, reason, troubles
from chestseg.tracking.sender import count_pending, send_pending
from chestseg.tracking.tracked_run import load_run


def run(run_dir: str) -> int:
    """Send what is left of the run's journal and print how much that was.

    Raises:
        ValueError: the folder is not a tracked run's, or MLflow is away or refuses.
    """
    tracked = load_run(Path(run_dir))
    client = reach(tracked.uri)
    try:
        sent = send_pending(tracked.folder, client)
    except troubles() as error:
        left = count_pending(tracked.folder)
        raise ValueError(
            f"{run_dir}: MLflow at {tracked.uri} stopped taking entries ({reason(error)}): {left} are left, try again"
        ) from error
    print(f"{run_dir}: {sent} entries sent to {tracked.uri}, nothing is left")
    return 0
