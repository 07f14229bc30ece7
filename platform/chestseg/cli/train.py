"""`chestseg train`: the resolution schedule from prepared data to an evaluated, registered bundle."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chestseg.bundle import CARD, Bundle
from chestseg.config import Experiment, load_experiment
from chestseg.config.location import inside
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.cluster import attach, require_shared
from chestseg.distributed.train import fit
from chestseg.evaluation.choose import require_choosable
from chestseg.evaluation.conclude import BUNDLE
from chestseg.evaluation.write import CASES
from chestseg.files import exclusive, require_space, whole_file
from chestseg.storage.working_copy import CHECKPOINTS
from chestseg.tracking.evaluations import nest
from chestseg.tracking.promotion import SPLIT
from chestseg.tracking.runs import TrackedRun, open_run
from chestseg.training.run import training_cases, write_initial
from chestseg.training.run_folder import run_folder

ROOM = 40
"""Disk a run may take, in copies of its initial weights: checkpoints with optimiser states, snapshots, bundle."""


def run(config_path: str, overrides: Sequence[str] = ()) -> int:
    """Train, evaluate and register; the same command again goes on where it was stopped.

    Raises:
        ValueError: the config, the data, the weights, the disk or MLflow don't allow it.
    """
    experiment = load_experiment(config_path, overrides)
    dataset = dataset_of(experiment)
    train_tracked(experiment, dataset)
    return 0


def dataset_of(experiment: Experiment) -> PreparedDataset:
    """The manifest an experiment trains on.

    Raises:
        ValueError: it was not prepared, or for another experiment, or lies where only this process sees it.
    """
    require_shared(experiment.data.prepared, experiment.storage)
    dataset = PreparedDataset.open(experiment.data.prepared, arrays=False)
    dataset.require_split(experiment.data)
    return dataset


def train_tracked(experiment: Experiment, dataset: PreparedDataset, parent: str | None = None) -> Bundle:
    """Train and say so to MLflow: as a job of its own, or under another run, which then registers nothing.

    Raises:
        ValueError: as of `run`.
    """
    cases = training_cases(experiment, dataset)
    require_choosable(experiment, dataset)
    with run_folder(experiment) as (own, copy):
        folder = Path(own.run_folder)
        counts = f"{len(cases.training)} training cases, {len(cases.validation)} held out"
        begun = copy.checkpoints() if copy else list(folder.glob(f"{CHECKPOINTS}/*"))
        print(f"{'Going on with' if begun else 'Starting'} {copy.uri if copy else folder}: {counts}")
        initial = write_initial(own, folder)
        require_space(folder, ROOM * initial.stat().st_size, "a run's checkpoints")
        with exclusive(folder, "trained"), attach(), open_run(experiment.tracking, folder, experiment, dataset.hash) as tracked:
            if parent:
                nest(tracked.uri, tracked.run_id, parent)
            bundle = fit(own, tracked, copy)
            _publish(own, bundle, tracked, registers=parent is None)
    print(inside(experiment.run_folder, BUNDLE) if copy else bundle.folder)
    return bundle


def _publish(experiment: Experiment, bundle: Bundle, tracked: TrackedRun, registers: bool = True) -> None:
    """Send tables, pictures and curves to MLflow, and register the bundle as candidate."""
    for name, value in sorted(bundle.spec.metrics.items()):
        print(f"{name:28} {value:.4f}")
    with tracked.recorder(system_every=None) as recorder:
        recorder.record(bundle.spec.metrics, step=_times_scored(bundle))
    log_evaluations(tracked, Path(experiment.run_folder, "evaluation"))
    tracked.log_files(bundle.folder / CARD)
    tracked.log_curves()
    if registers and experiment.tracking.model:
        version = tracked.register(bundle.folder, experiment.tracking.model, gate_tags(bundle))
        print(f"{experiment.tracking.model} version {version or '(sent by chestseg sync)'} is the candidate")
    else:
        tracked.log_files(bundle.folder, "bundle")


def log_evaluations(tracked: TrackedRun, folder: Path) -> None:
    """Send summaries and pictures; tables of cases hold identifiers and stay where the data is."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != CASES and not path.name.startswith("."):
            tracked.log_files(path, f"evaluation/{path.parent.relative_to(folder)}")


def _times_scored(bundle: Bundle) -> int:
    """How many other bundles this run made before: the same weights score anew when their post-processing changes."""
    record = bundle.folder.parent / "scored.json"
    digests = json.loads(record.read_text()) if record.exists() else []
    if bundle.digest not in digests:
        digests.append(bundle.digest)
        with whole_file(record) as file:
            file.write_text(json.dumps(digests))
    return digests.index(bundle.digest)


def gate_tags(bundle: Bundle) -> dict[str, Any]:
    """What the promotion gate reads of a version: its scores on the frozen test split, or on the validation fold where there is none."""
    split = SPLIT if f"{SPLIT}_mean_dice" in bundle.spec.metrics else "validation"
    scores = {key: bundle.spec.metrics[f"{split}_{key}"] for key in ("mean_dice", "all_empty") if f"{split}_{key}" in bundle.spec.metrics}
    return {**scores, "split": split, "dataset_hash": bundle.spec.dataset_hash}
