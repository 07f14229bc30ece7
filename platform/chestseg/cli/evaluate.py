"""`chestseg evaluate`: score a bundle on a split of the experiment's prepared dataset, with a report to look at."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from chestseg.bundle import Bundle
from chestseg.config import Experiment, load_experiment
from chestseg.config.location import inside
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.pictures import shown
from chestseg.evaluation.report import REPORT, Evaluated, write_report
from chestseg.evaluation.report_cases import FOLDER
from chestseg.evaluation.score import score
from chestseg.evaluation.table import format_intervals, format_table
from chestseg.evaluation.write import SUMMARY, values_of, write_evaluation
from chestseg.inference.locate import open_bundle
from chestseg.inference.predictors import predictor_of
from chestseg.storage.copies import results
from chestseg.tracking.evaluations import log_beside_training, log_run, require_reachable
from chestseg.training.run_folder import run_folder

SPLITS = "validation, test, train, all or a fold's number"


def run(
    config_path: str,
    overrides: Sequence[str] = (),
    model: str | None = None,
    split: str = "validation",
    output: str | None = None,
    track: bool = True,
) -> int:
    """Write `cases.csv`, `summary.json` and `report.html`, log what holds no identifier to MLflow, and print the scores.

    Args:
        config_path: the experiment's YAML.
        overrides: `key=value` pairs on top of it.
        model: a bundle's folder or URI, or an MLflow URI; the experiment's own bundle when None.
        split: `validation` (the experiment's fold), `test`, `train` (all folds but that one), `all` or a fold's number.
        output: folder or URI of the tables; `evaluation/SPLIT` in the run's when None, `evaluation/SPLIT-NAME-DIGEST` for another model.
        track: log to MLflow: to the run that trained the bundle, where it is the experiment's own, else to a new one.

    Raises:
        ValueError: no such split, model or prepared dataset, no case in the split, or MLflow can't be reached.
    """
    experiment = load_experiment(config_path, overrides)
    with run_folder(experiment, "evaluate") as (seen, _):
        own_place = inside(experiment.run_folder, "evaluation")
        _run(seen, own_place, model, split, output, track)
    return 0


def _run(experiment: Experiment, own_place: str, model: str | None, split: str, output: str | None, track: bool) -> None:
    """As `run`; evaluations of the run's own lie in `own_place`, which `experiment` may name a copy of."""
    dataset = PreparedDataset.open(experiment.data.prepared)
    dataset.require_split(experiment.data)
    indices = split_indices(dataset, experiment, split)
    bundle = open_bundle(model or str(own_bundle(experiment)), experiment.tracking.uri)
    own = bundle.folder.absolute() == own_bundle(experiment).absolute()
    if track and not own:
        require_reachable(experiment.tracking)
    name = f"{bundle.spec.name}-{bundle.digest[:12]}"
    called = f"{split}-{name}" if model else split
    with results(output or Path(experiment.run_folder, "evaluation", called)) as folder:
        evaluated = evaluate_bundle(bundle, dataset, indices, split, what_was_seen(bundle, experiment, dataset, split), folder)
        if track:
            log(experiment, evaluated, folder, own)
    print(f"{name} on {split}, {evaluated.result.compared}\n{format_table(evaluated.result)}\n")
    print(f"{format_intervals(evaluated.scores)}\n{output or inside(own_place, called)}")


def evaluate_bundle(
    bundle: Bundle, dataset: PreparedDataset, indices: np.ndarray, split: str, notes: Sequence[str], folder: Path
) -> Evaluated:
    """Score a bundle on cases and write tables and report; notes are said aloud and stand in the report."""
    for note in notes:
        print(f"chestseg: note: {bundle.spec.name}: {note}", file=sys.stderr)
    predictor = predictor_of(bundle)
    result = score(predictor, dataset, indices, progress=True)
    facts = {"model": bundle.spec.name, "digest": bundle.digest, "split": split, "dataset_hash": dataset.hash}
    try:
        scores = write_evaluation(folder, result, dataset, facts)
        evaluated = Evaluated(bundle, dataset, split, indices, result, scores, tuple(notes))
        write_report(evaluated, partial(shown, predictor, dataset), folder)
    except OSError as error:
        raise ValueError(f"{error.filename or folder}: {error.strerror}: give an --output that can be written, with space") from error
    return evaluated


def log(experiment: Experiment, evaluated: Evaluated, folder: Path, own: bool) -> None:
    """Send MLflow the report, its pictures and the summary; the table of cases has identifiers and stays here."""
    spec, place = evaluated.bundle.spec, f"evaluation/{evaluated.split}"
    files = [(folder / REPORT, place), (folder / SUMMARY, place), (folder / FOLDER, f"{place}/{FOLDER}")]
    files = [(path, target) for path, target in files if path.exists()]
    if own and log_beside_training(Path(experiment.run_folder), files):
        return
    tags = {"bundle_sha256": evaluated.bundle.digest, "dataset_hash": evaluated.dataset.hash, "split": evaluated.split}
    metrics = {f"{evaluated.split}_{key}": value for key, value in values_of(evaluated.scores.overall).items()}
    log_run(experiment.tracking, f"evaluate {spec.name} on {evaluated.split}", tags, metrics, files)


def own_bundle(experiment: Experiment) -> Path:
    """Where training leaves the experiment's bundle."""
    return Path(experiment.run_folder, "bundle")


def split_indices(dataset: PreparedDataset, experiment: Experiment, split: str) -> np.ndarray:
    """Indices of the cases that `split` names.

    Raises:
        ValueError: no such split, or none of its cases was prepared.
    """
    if split == "test":
        indices = dataset.indices("test")
    elif split == "train":
        indices = dataset.indices("train", exclude_fold=None if experiment.fold == "all" else experiment.fold)
    elif split == "all":
        indices = np.arange(len(dataset))
    else:
        indices = dataset.indices("train", fold=_fold(experiment, split))
    if not len(indices):
        raise ValueError(
            f"--split {split}: no case of {experiment.data.prepared} is in it: give {SPLITS}, or prepare with data.test_share above 0"
        )
    return indices


def _fold(experiment: Experiment, split: str) -> int:
    if split == "validation" and experiment.fold != "all":
        return experiment.fold
    if split == "validation":
        raise ValueError("--split validation: the experiment's fold is `all`, it holds no fold back: give test, or --set fold=0")
    if not split.isdecimal():
        raise ValueError(f"--split {split}: give {SPLITS}")
    return int(split)


def what_was_seen(bundle: Bundle, experiment: Experiment, dataset: PreparedDataset, split: str) -> list[str]:
    """A score on cases the network learned from is no score; what a bundle's record tells of that."""
    trained = bundle.spec.experiment
    if bundle.spec.dataset_hash != dataset.hash:
        return [f"trained on dataset {bundle.spec.dataset_hash}, this one is {dataset.hash}: cases may have been trained on"]
    if split in ("train", "all") or (split != "test" and _fold(experiment, split) != trained.get("fold")):
        return [f"trained on the cases of --split {split}: this is not a held-out score"]
    if split != "test" and trained.get("choose"):
        return ["its post-processing was chosen on these very cases: scores are a little too good, those of the test split hold"]
    return []
