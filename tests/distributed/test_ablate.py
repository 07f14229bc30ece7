"""An ablation on a real cluster, in a bucket: trained once, scored with and without its parts, told with intervals."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient

from chestseg.cli import main
from chestseg.config import load_experiment
from chestseg.config.ablation import load_ablation
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.ablate import Scored, fairness, variant, weights_of
from chestseg.storage.copies import here
from chestseg.storage.objects import Objects
from chestseg.training.averaging import SNAPSHOTS, Snapshots
from tests.distributed.small_ray import SmallRay
from tests.evaluation.prepared import write_prepared
from tests.servers import s3_server
from tests.small_job import small_job, write_job


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two stages against one at equal compute, on rectangles."""
    write_prepared(tmp_path / "prepared")
    last = {"size": 128, "epochs": 2, "batch": 2, "swa": {"last": 2, "batch_norm_batches": 2}}
    base = small_job(tmp_path, "parts", [{"size": 64, "epochs": 4, "batch": 2}, last], training={"precision": "fp32", "gpu": "no"})
    ablation = {"name": "parts-told", "base": "parts.yaml", "variations": {"one-stage": {"last_stage_only": True, "equal": "compute"}}}
    write_job(tmp_path, base)
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(ablation))
    return tmp_path / "ablation.yaml"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_each_part_is_scored_on_the_held_out_cases(config: Path) -> None:
    with s3_server() as server:
        server.make_bucket("parts")
        assert main(["ablate", str(config), "--set", "storage=s3://parts/runs"]) == 0
        folder = here("s3://parts/runs/parts-told")
        trained = {name.partition("/")[0] for name in Objects("s3://parts/runs").list()}
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
    assert {name.rpartition("-")[0] for name in trained} == {"parts", "parts-parts-told", "parts-parts-told-one-stage"}
    assert (parent.info.status, parent.info.run_id) == ("FINISHED", json.loads((folder / "ablation.json").read_text())["run_id"])
    assert sum(run.data.tags.get("mlflow.parentRunId") == parent.info.run_id for run in runs) == 2
    assert json.loads((folder / "plan.json").read_text()).popitem()[1] == 3


def test_no_training_of_an_ablation_lies_in_a_users_run(config: Path) -> None:
    tree = yaml.safe_load(config.read_text())
    # Neither of these shows in a digest.
    tree["variations"] |= {"more-loaders": {"set": ["training.loader_workers=2"]}, "flips-off": {"set": ["postprocessing.flip_tta=false"]}}
    config.write_text(yaml.safe_dump(tree))
    ablation, dataset = load_ablation(config), PreparedDataset.open(config.parent / "prepared")
    plan: dict[str, int] = {}
    own = load_experiment(config.parent / "parts.yaml")
    found = [variant(ablation, name, fold, dataset, plan) for name in (None, *ablation.variations) for fold in (0, 1)]
    assert len({one.run_folder for one in found}) == len(found) == 8
    assert not {one.run_folder for one in found} & {own.model_copy(update={"fold": fold}).run_folder for fold in (0, 1)}
    assert {one.name for one in found} == {f"parts-parts-told{end}" for end in ("", "-one-stage", "-more-loaders", "-flips-off")}


def test_equal_time_is_measured_in_a_workers_place(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = yaml.safe_load(config.read_text())
    tree["variations"]["one-stage"]["equal"] = "time"
    config.write_text(yaml.safe_dump(tree))
    ray, plan = SmallRay(monkeypatch, nodes=2), dict[str, int]()
    ablation, dataset = load_ablation(config), PreparedDataset.open(config.parent / "prepared")
    for _ in range(2):
        experiment = variant(ablation, "one-stage", 0, dataset, plan)
    assert ray.asked == [{"num_cpus": 1, "num_gpus": 0}]  # once: the second time it is known
    assert [experiment.stages[0].epochs] == list(plan.values()) and experiment.stages[0].epochs >= 2


def test_one_stage_starts_as_the_first_does_and_the_page_says_what_differs(config: Path) -> None:
    tree = yaml.safe_load(config.read_text())
    first = "stages.0.optimiser={lr: 1.0e-3, warmup: 0.1}"
    last = ["stages.1.optimiser={lr: 1.0e-4}", "stages.1.swa.lr=5.0e-5", "stages.0.positives=[0.8, 0.4]"]
    tree |= {
        "set": [first, *last],
        "variations": {"one": {"last_stage_only": True}, "kept": {"last_stage_only": True, "starts_as": "last"}},
    }
    config.write_text(yaml.safe_dump(tree))
    ablation, dataset = load_ablation(config), PreparedDataset.open(config.parent / "prepared")
    plan: dict[str, int] = {}
    trained = {name or "base": [variant(ablation, name, 0, dataset, plan)] for name in (None, "one", "kept")}
    base, one, kept = (own[0].stages for own in trained.values())
    assert (one[0].optimiser, one[0].positives, one[0].resolution) == (base[0].optimiser, (0.8, 0.4), "128 px")
    assert one[0].optimiser.warmup == 0.1 and one[0].swa == base[1].swa
    assert (kept[0].optimiser, kept[0].positives) == (base[1].optimiser, None)
    told = fairness(ablation, trained)
    assert "one: the last stage's resolution from the start, with the first stage's optimiser (rate 0.001) and share of positives." in told
    assert any(note.startswith("kept:") and "made for fine-tuning" in note for note in told)
    assert "constant rate swa.lr (5e-05 in base, 5e-05 in one, 5e-05 in kept)" in told[-1]
    assert len(fairness(ablation.model_copy(update={"without": ("tta",)}), trained)) == 2


@pytest.mark.parametrize(
    ("changed", "trained", "wanted"),
    [
        ({"early_stop": 1, "swa": {"last": 2}}, [0, 1, 2], 2),
        ({"swa": {"last": 2, "skip": 1}}, [4, 5], 5),
        ({"swa": {"last": 2}}, [6, 7], 7),
    ],
)
def test_without_swa_it_is_the_last_epoch_that_was_kept(config: Path, changed: dict[str, object], trained: list[int], wanted: int) -> None:
    tree = yaml.safe_load((config.parent / "parts.yaml").read_text())
    tree["stages"][1] |= {"epochs": 8, **changed}
    (config.parent / "parts.yaml").write_text(yaml.safe_dump(tree))
    experiment = variant(load_ablation(config), None, 0, PreparedDataset.open(config.parent / "prepared"), {})
    for epoch in trained:
        Snapshots(Path(experiment.run_folder, SNAPSHOTS)).save(1, epoch, {"weight": torch.full((2,), float(epoch))})
    assert weights_of(experiment, Scored(swa=False, tta=True))["weight"].tolist() == [wanted, wanted]


def test_snapshots_that_are_gone_are_named(config: Path) -> None:
    experiment = variant(load_ablation(config), None, 0, PreparedDataset.open(config.parent / "prepared"), {})
    with pytest.raises(ValueError, match="the last stage's snapshots are gone: delete .* to train it again"):
        weights_of(experiment, Scored(swa=False, tta=True))


def test_all_are_validated_on_the_grid_of_the_base(config: Path) -> None:
    tree = yaml.safe_load(config.read_text())
    tree["variations"] |= {"small": {"set": ["stages.1.size=64"]}}
    config.write_text(yaml.safe_dump(tree))
    ablation, dataset = load_ablation(config), PreparedDataset.open(config.parent / "prepared")
    assert [variant(ablation, name, 0, dataset, {}).training.compare_at for name in (None, "small")] == [128, 128]
