"""A job's runs in MLflow: a parent, a child for each stage, the same ones however often the job is killed and started again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chestseg
from chestseg.config import Experiment, Tracking
from chestseg.tracking.environment import checked_uri, experiment_id, explained, reach
from chestseg.tracking.journal import Journal, Status
from chestseg.tracking.provenance import code_version, git_commit
from chestseg.tracking.recorder import milliseconds
from chestseg.tracking.tracked_run import RECORD, TrackedRun, load_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMETERS_A_REQUEST = 100


def open_run(tracking: Tracking, run_dir: Path, experiment: Experiment, dataset_hash: str) -> TrackedRun:
    """Start a job's runs in MLflow, or go on with those of an earlier start in the same folder.

    Args:
        tracking: where, and under which MLflow experiment.
        run_dir: the run's folder, which keeps the runs' ids and the journal.
        experiment: its keys become the parent run's parameters, its stages the child runs.
        dataset_hash: of the prepared dataset.

    Raises:
        ValueError: MLflow can't be reached or refuses, lost the earlier runs, or the folder belongs to another experiment or MLflow.
    """
    run_dir = run_dir.absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    client = reach(tracking.uri)
    with explained(tracking.uri):
        if (run_dir / RECORD).exists():
            run = _reopened(load_run(run_dir), client, checked_uri(tracking.uri), experiment)
        else:
            run = _created(client, tracking, run_dir, experiment, dataset_hash)
        _log_parameters(client, run.run_id, experiment)
        return _with_all_stages(run, client, experiment)


def _created(client: MlflowClient, tracking: Tracking, run_dir: Path, experiment: Experiment, dataset_hash: str) -> TrackedRun:
    from mlflow.tracking.context.registry import resolve_tags

    home = experiment_id(client, tracking.experiment)
    known = resolve_tags(tags_of(experiment.digest, dataset_hash))  # adds MLflow's own: who runs what, and from where
    run_id = client.create_run(home, run_name=experiment.name, tags=known).info.run_id
    return TrackedRun(run_dir, checked_uri(tracking.uri), home, experiment.digest, run_id).save()


def tags_of(digest: str, dataset_hash: str | None = None) -> dict[str, str]:
    """What a run is made of: configuration, data and code."""
    tags = {
        "dataset_hash": dataset_hash,
        "config_digest": digest,
        "chestseg_version": chestseg.__version__,
        "code_version": code_version(),
        "mlflow.source.git.commit": git_commit(),
    }
    return {key: value for key, value in tags.items() if value}


def parameters_of(experiment: Experiment) -> dict[str, str]:
    """The keys that say what is learned, as a run's parameters."""
    return flattened(experiment.model_dump(exclude={"tracking", "storage", "gate"}))


def _log_parameters(client: MlflowClient, run_id: str, experiment: Experiment) -> None:
    """Log what the run lacks: all of it at first, nothing later, the rest where a job was killed in between."""
    from mlflow.entities import Param

    held = client.get_run(run_id).data.params
    parameters = [Param(key, value) for key, value in parameters_of(experiment).items() if key not in held]
    for start in range(0, len(parameters), PARAMETERS_A_REQUEST):
        client.log_batch(run_id, params=parameters[start : start + PARAMETERS_A_REQUEST], synchronous=True)


def _with_all_stages(run: TrackedRun, client: MlflowClient, experiment: Experiment) -> TrackedRun:
    """Make the child runs that are not there yet; each is saved at once, so a kill in between makes none twice."""
    for index in range(len(run.stage_run_ids), len(experiment.stages)):
        name = f"{experiment.name} stage {index + 1}: {experiment.stages[index].resolution}"
        child = client.create_run(run.experiment_id, run_name=name, tags={"mlflow.parentRunId": run.run_id, "stage": str(index)})
        run = replace(run, stage_run_ids=(*run.stage_run_ids, child.info.run_id)).save()
    return run


def _reopened(run: TrackedRun, client: MlflowClient, uri: str, experiment: Experiment) -> TrackedRun:
    """Set the runs of an earlier start running again; stages that finished stay so."""
    if run.digest != experiment.digest:
        raise ValueError(
            f"{run.folder} belongs to an experiment of digest {run.digest}, not {experiment.digest}: give another name or storage"
        )
    if run.uri != uri:
        raise ValueError(f"{run.folder} is tracked at {run.uri}, not {uri}: set tracking.uri back, or {_forget(run)}")
    if not _is_known(client, run.run_id):
        raise ValueError(f"{run.uri} no longer has run {run.run_id} of {run.folder}: restore it there, or {_forget(run)}")
    journal, now = Journal(run.folder), milliseconds()
    ended = [r for r in run.stage_run_ids if journal.status(r) in ("FAILED", "KILLED")]
    if journal.status(run.run_id) is not None:
        ended.append(run.run_id)
    journal.append(Status(r, "RUNNING", now) for r in ended)
    return run


def _is_known(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def _forget(run: TrackedRun) -> str:
    return f"start new MLflow runs by deleting {RECORD} and journal.* in {run.folder}"


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves of a configuration by the dotted path that `--set` knows them by, e.g. `stages.0.optimiser.lr`."""
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            value = {str(place): item for place, item in enumerate(value)}
        if isinstance(value, Mapping):
            leaves |= flattened(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = str(value)
    return leaves
