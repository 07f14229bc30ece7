"""`chestseg evaluate`: score a bundle on a split of the experiment's prepared dataset."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chestseg.bundle import Bundle
from chestseg.config import Experiment, load_experiment
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.score import score
from chestseg.evaluation.table import format_table, write_cases, write_summary
from chestseg.inference.locate import open_bundle
from chestseg.inference.predictors import predictor_of

SPLITS = "validation, test, train or a fold's number"


def run(
    config_path: str, overrides: Sequence[str] = (), model: str | None = None, split: str = "validation", output: str | None = None
) -> int:
    """Write `cases.csv` and `summary.json` and print the summary.

    Args:
        config_path: the experiment's YAML.
        overrides: `key=value` pairs on top of it.
        model: a bundle's folder or an MLflow URI; the experiment's own bundle when None.
        split: `validation` (the experiment's fold), `test`, `train` (all folds but that one) or a fold's number.
        output: folder of the tables; `evaluation/SPLIT` in the run's folder when None, `evaluation/SPLIT-NAME-DIGEST` for another model.

    Raises:
        ValueError: no such split, model or prepared dataset, or no case in the split.
    """
    experiment = load_experiment(config_path, overrides)
    dataset = PreparedDataset.open(experiment.data.prepared)
    dataset.require_split(experiment.data)
    indices = split_indices(dataset, experiment, split)
    bundle = open_bundle(model or str(own_bundle(experiment)), experiment.tracking.uri)
    _say_what_was_seen(bundle, experiment, dataset, split)
    result = score(predictor_of(bundle), dataset, indices, progress=True)
    name = f"{bundle.spec.name}-{bundle.digest[:12]}"
    folder = Path(output or Path(experiment.run_folder, "evaluation", f"{split}-{name}" if model else split))
    facts = {"model": bundle.spec.name, "digest": bundle.digest, "split": split, "dataset_hash": dataset.hash}
    try:
        write_cases(folder / "cases.csv", result.rows)
        write_summary(folder / "summary.json", result, facts)
    except OSError as error:
        raise ValueError(f"{error.filename or folder}: {error.strerror}: give an --output that can be written, with space") from error
    print(f"{name} on {split}, {result.compared}\n{format_table(result)}\n{folder}")
    return 0


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


def _say_what_was_seen(bundle: Bundle, experiment: Experiment, dataset: PreparedDataset, split: str) -> None:
    """A score on cases the network learned from is no score; what a bundle's record tells of that is said aloud."""
    if bundle.spec.dataset_hash != dataset.hash:
        note = f"trained on dataset {bundle.spec.dataset_hash}, this one is {dataset.hash}: cases may have been trained on"
    elif split == "train" or (split != "test" and _fold(experiment, split) != bundle.spec.experiment.get("fold")):
        note = f"trained on the cases of --split {split}: this is not a held-out score"
    else:
        return
    print(f"chestseg: note: {bundle.spec.name} was {note}", file=sys.stderr)
