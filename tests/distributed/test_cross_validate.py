"""Cross-validation on a real cluster, in a bucket: folds, the out-of-fold table, one parent run, the ensemble that loads like any other."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from chestseg.cli import main
from chestseg.cli.cross_validate import RECORD, fold_experiments, folder_of
from chestseg.config import load_experiment
from chestseg.config.location import inside
from chestseg.data.prepared import PreparedDataset
from chestseg.inference.golden import check_golden
from chestseg.inference.locate import open_bundle
from chestseg.phantoms.radiograph.siim import write_siim
from chestseg.storage.copies import here
from chestseg.tracking.promotion import version_under
from tests.servers import s3_server
from tests.small_job import small_job, write_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, cluster) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("folds")
    write_siim(folder / "siim", 24, seed=1, size=128)
    stage = {"size": 32, "epochs": 2, "batch": 4, "positives": 0.5}
    tree = small_job(
        folder, "folds", [stage], data={"test_share": 0.3}, choose={"name": "mean_dice"}, tracking={"model": "cxr-folds"},
        storage="s3://folds/runs",
    )  # fmt: skip
    path = write_job(folder, tree)
    with s3_server() as server:
        server.make_bucket("folds")
        assert main(["prepare", str(path)]) == 0
        assert main(["cross-validate", str(path)]) == 0
        yield path


def test_every_training_case_is_scored_once_by_a_network_that_held_it_out(config: Path) -> None:
    experiment = load_experiment(config)
    dataset = PreparedDataset.open(experiment.data.prepared)
    folder = here(inside(folder_of(experiment), "evaluation", "out_of_fold"))
    with open(folder / "cases.csv", newline="") as file:
        assert sorted(row["case_id"] for row in csv.DictReader(file)) == sorted(
            dataset.case_ids[place] for place in dataset.indices("train")
        )
    text = (folder / "report.html").read_text()
    assert "Each case was scored by the network that did not learn from it, with post-processing chosen on the other folds." in text
    assert json.loads(here(inside(folder_of(experiment), "choice", "choice.json")).read_text())["cases"] == len(dataset.indices("train"))


def test_the_ensemble_is_a_bundle_like_any_other(config: Path, tmp_path: Path) -> None:
    experiment = load_experiment(config)
    bundle = open_bundle(inside(folder_of(experiment), "bundle"))
    assert (bundle.spec.members, bundle.spec.experiment["fold"]) == (2, "all")
    assert {"out_of_fold_mean_dice", "test_mean_dice"} <= bundle.spec.metrics.keys()
    assert check_golden(bundle) < 1e-3 and "2 networks" in (bundle.folder / "README.md").read_text()
    images = sorted(str(path) for path in Path(experiment.data.sources[0].path).rglob("*.dcm"))[:2]
    assert main(["predict", *images, "--model", inside(folder_of(experiment), "bundle"), "--output", str(tmp_path / "masks")]) == 0
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 2


def test_mlflow_has_one_parent_with_the_folds_under_it_and_the_candidate(config: Path) -> None:
    experiment = load_experiment(config)
    client = MlflowClient(experiment.tracking.uri)
    parent = json.loads(here(inside(folder_of(experiment), RECORD)).read_text())["run_id"]
    runs = client.search_runs([client.get_experiment_by_name("folds").experiment_id])
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert len(children) == 2 and {run.info.status for run in runs} == {"FINISHED"}
    assert "out_of_fold_mean_dice" in client.get_run(parent).data.metrics
    assert version_under(client, "cxr-folds", "candidate") == "1"
    files = {file.path for file in client.list_artifacts(parent, "evaluation/out_of_fold")}
    assert "evaluation/out_of_fold/report.html" in files and not any(path.endswith(".csv") for path in files)


def test_one_fold_is_refused(config: Path) -> None:
    experiment = load_experiment(config)
    dataset = PreparedDataset.open(experiment.data.prepared)
    assert [one.fold for one in fold_experiments(experiment, dataset)] == [0, 1]
    dataset.fold = np.ones_like(dataset.fold)
    with pytest.raises(ValueError, match=r"has 1 fold\(s\): prepare with data.folds of 2 or more"):
        fold_experiments(experiment, dataset)
