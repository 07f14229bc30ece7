"""Evaluations in MLflow: files beside the training they belong to, or a run of their own for a model from elsewhere."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chestseg.config import Tracking
from chestseg.files import whole_file
from chestseg.tracking.environment import checked_uri, connect, experiment_id, explained, reach, reason, troubles
from chestseg.tracking.recorder import milliseconds
from chestseg.tracking.runs import tags_of
from chestseg.tracking.tracked_run import RECORD, load_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger(__name__)

Files = Sequence[tuple[Path, str]]
"""Files or folders, and the folder among a run's artifacts that each goes to."""


def log_beside_training(run_folder: Path, files: Files) -> bool:
    """Add files to the run that trained in `run_folder`; says whether there is one. What MLflow can't take now it gets by `sync`."""
    if not (run_folder / RECORD).exists():
        return False
    run = load_run(run_folder)
    for path, target in files:
        run.log_files(path, target)
    run.send()
    return True


def log_run(
    tracking: Tracking, name: str, tags: Mapping[str, str], metrics: Mapping[str, float], files: Files, parent: str | None = None
) -> str:
    """Log a finished piece of work as a run of its own.

    Args:
        tracking: where, and under which MLflow experiment.
        name: of the run.
        tags: what it was made with; the code's are added.
        metrics: by name.
        files: what to keep.
        parent: id of the run it lies under.

    Returns:
        The run's id.

    Raises:
        ValueError: MLflow can't be reached or refuses.
    """
    client = reach(tracking.uri)
    with explained(tracking.uri):
        run_id = start_run(client, tracking, name, tags, parent)
        finish_run(client, run_id, metrics, files)
    return run_id


def start_run(client: MlflowClient, tracking: Tracking, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
    """A run that is running; its id."""
    from mlflow.tracking.context.registry import resolve_tags

    home = experiment_id(client, tracking.experiment)
    known = {key: value for key, value in tags_of("").items() if value} | dict(tags)
    lineage = {"mlflow.parentRunId": parent} if parent else {}
    return client.create_run(home, run_name=name, tags=resolve_tags(known | lineage)).info.run_id


def finish_run(client: MlflowClient, run_id: str, metrics: Mapping[str, float], files: Files) -> None:
    """Log what came out and end the run."""
    from mlflow.entities import Metric

    now = milliseconds()
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()], synchronous=True)
    for path, target in files:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), target)
        else:
            client.log_artifact(run_id, str(path), target)
    client.set_terminated(run_id)


@contextlib.contextmanager
def run_kept_in(path: Path, tracking: Tracking, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """The run that several starts of one piece of work have in common, running during the block and ended as the block ends.

    Args:
        path: file that keeps its id; where MLflow has no such run, as with a new database, there is a new one.
        tracking: where, and under which MLflow experiment.
        name: of the run.
        tags: of a new run.

    Raises:
        ValueError: MLflow can't be reached or refuses.
    """
    client = reach(tracking.uri)
    with explained(tracking.uri):
        run_id = _known(client, path)
        if run_id:
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = start_run(client, tracking, name, tags)
            with whole_file(path) as file:
                file.write_text(json.dumps({"run_id": run_id}))
    try:
        yield run_id
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        try:
            client.set_terminated(run_id, status)
        except troubles() as trouble:  # what went wrong first is what the user must hear
            LOG.warning("MLflow at %s: %s; its run %s stays RUNNING until the next start", tracking.uri, reason(trouble), run_id)
        raise
    with explained(tracking.uri):
        client.set_terminated(run_id)


def _known(client: MlflowClient, path: Path) -> str | None:
    from mlflow.exceptions import MlflowException

    if not path.exists():
        return None
    run_id = json.loads(path.read_text())["run_id"]
    try:
        return client.get_run(run_id).info.run_id
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def nest(uri: str, run_id: str, parent: str) -> None:
    """Put a run under another one.

    Raises:
        ValueError: MLflow can't be reached or refuses.
    """
    with explained(uri):
        connect(uri).set_tag(run_id, "mlflow.parentRunId", parent)


def require_reachable(tracking: Tracking) -> None:
    """Find out before hours of work that MLflow is away.

    Raises:
        ValueError: with the remedy.
    """
    reach(checked_uri(tracking.uri))
