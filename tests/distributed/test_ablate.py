"""An ablation on a real cluster: trained once, scored with and without its parts, told with intervals."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from chestseg.cli import main
from tests.evaluation.prepared import write_prepared

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("cluster")]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two stages against one at equal compute, on rectangles."""
    write_prepared(tmp_path / "prepared")
    base = {
        "name": "parts",
        "data": {
            "sources": [{"reader": "siim", "path": "x"}],
            "prepared": str(tmp_path / "prepared"), "sizes": [64, 128], "folds": 2, "test_share": 0.3,
        },
        "model": {"encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4]},
        "stages": [
            {"size": 64, "epochs": 4, "batch": 2},
            {"size": 128, "epochs": 2, "batch": 2, "swa": {"last": 2, "batch_norm_batches": 2}},
        ],
        "training": {"precision": "fp32", "gpu": "no"},
        "storage": str(tmp_path / "runs"),
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "parts", "model": None},
    }  # fmt: skip
    ablation = {"name": "parts-told", "base": "base.yaml", "variations": {"one-stage": {"last_stage_only": True, "equal": "compute"}}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(ablation))
    return tmp_path / "ablation.yaml"


def test_each_part_is_scored_on_the_held_out_cases(config: Path) -> None:
    assert main(["ablate", str(config)]) == 0
    folder = config.parent / "runs" / "parts-told"
    with open(folder / "ablation.csv", newline="") as file:
        _, *rows = csv.reader(file)
    without = ["", " without SWA", " without TTA", " without SWA and TTA"]
    assert sorted(row[0] for row in rows) == sorted(name + part for name in ("base", "one-stage") for part in without)
    page = (folder / "ablation.html").read_text()
    # 4 epochs at a quarter of the pixels and 2 at all of them pay for 3 of the latter.
    assert "64 px x 4, 128 px x 2" in page and "128 px x 3" in page
    client = MlflowClient(f"sqlite:///{config.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("parts")
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if run.info.run_name == "ablation parts-told"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id, "ablation")} == {
        "ablation/ablation.csv",
        "ablation/ablation.html",
    }
    assert sum(run.data.tags.get("mlflow.parentRunId") == parent.info.run_id for run in runs) == 2
    assert json.loads((folder / "plan.json").read_text()).popitem()[1] == 3
