"""`chestseg evaluate` on a small prepared dataset: splits, tables, and what is said of cases seen in training."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from chestseg.bundle import Bundle, save_bundle
from chestseg.cli.evaluate import own_bundle, run, split_indices
from chestseg.config import load_experiment
from chestseg.data.prepared import PreparedDataset
from tests.empty_store import empty_store
from tests.evaluation.prepared import write_prepared
from tests.inference.tiny import tiny_network, tiny_spec


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    return write_prepared(tmp_path / "prepared")


@pytest.fixture
def config(tmp_path: Path, dataset: PreparedDataset) -> str:
    data = {"sources": [{"reader": "siim", "path": "x"}], "prepared": str(dataset.folder), "sizes": [64, 128], "folds": 3}
    tree = {"name": "small", "data": data, "stages": [{"size": 64, "epochs": 1}], "storage": str(tmp_path / "runs")}
    tree["tracking"] = {"uri": empty_store(tmp_path / "mlflow.db")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(tree))
    return str(tmp_path / "small.yaml")


def save(folder: Path, dataset_hash: str, fold: int | str = 0) -> Bundle:
    spec = tiny_spec(experiment={"fold": fold}).model_copy(update={"dataset_hash": dataset_hash})
    return save_bundle(folder, spec, tiny_network().state_dict())


def test_tables_of_the_own_bundle(config: str, dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]) -> None:
    own = own_bundle(load_experiment(config))
    bundle = save(own, dataset.hash)
    assert run(config, track=False) == 0
    folder = own.parent / "evaluation" / "validation"
    with open(folder / "cases.csv", newline="") as file:
        assert [row["case_id"] for row in csv.DictReader(file)] == ["case-0", "case-1", "case-2"]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["digest"], summary["dataset_hash"], summary["summary"]["n"]) == (bundle.digest, dataset.hash, 3)
    printed = capsys.readouterr()
    assert "masks compared at 128 x 128" in printed.out and "mean Dice" in printed.out
    assert "note:" not in printed.err


def test_another_bundle_and_folder(config: str, dataset: PreparedDataset, tmp_path: Path) -> None:
    bundle = save(tmp_path / "other", dataset.hash)
    assert run(config, model=str(bundle.folder), split="test", output=str(tmp_path / "out"), track=False) == 0
    assert (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    ("split", "fold", "known", "note"),
    [
        ("train", 0, True, "trained on the cases of --split train"),
        ("1", 0, True, "trained on the cases of --split 1"),
        ("validation", 1, True, "trained on the cases of --split validation"),
        ("0", "all", True, "trained on the cases of --split 0"),
        ("test", 0, False, "trained on dataset 0123456789abcdef"),
        ("test", 0, True, None),
        ("0", 0, True, None),
    ],
)
def test_cases_seen_in_training_are_said_aloud(
    config: str,
    dataset: PreparedDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    split: str,
    fold: int | str,
    known: bool,
    note: str | None,
) -> None:
    bundle = save(tmp_path / "other", dataset.hash if known else "0123456789abcdef", fold)
    run(config, model=str(bundle.folder), split=split, output=str(tmp_path / "out"), track=False)
    said = capsys.readouterr().err
    assert note in said if note else "note:" not in said


def test_splits_by_name_and_number(config: str, dataset: PreparedDataset) -> None:
    experiment = load_experiment(config)
    chosen = {split: split_indices(dataset, experiment, split).tolist() for split in ("validation", "train", "test", "1")}
    assert chosen == {"validation": [0, 1, 2], "train": [3, 4, 5], "test": [6, 7, 8], "1": [3, 4, 5]}
    everything = load_experiment(config, ["fold=all"])
    assert split_indices(dataset, everything, "train").tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("overrides", "split", "finding"),
    [
        ([], "valid", "--split valid: give validation, test, train, all or a fold's number"),
        ([], "2", "--split 2: no case of"),
        (["fold=all"], "validation", "it holds no fold back"),
    ],
)
def test_split_without_cases_is_refused(config: str, dataset: PreparedDataset, overrides: list[str], split: str, finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        split_indices(dataset, load_experiment(config, overrides), split)


def test_missing_bundle_and_unwritable_output(config: str, dataset: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bundle: no such folder"):
        run(config)
    bundle = save(tmp_path / "other", dataset.hash)
    with pytest.raises(ValueError, match=r"small.yaml.*: give an --output that can be written"):
        run(config, model=str(bundle.folder), output=config, track=False)
