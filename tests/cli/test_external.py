"""One model on several datasets, beside published figures."""

import csv
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from chestseg.bundle import save_bundle
from chestseg.cli import main
from chestseg.distributed.cluster import SUBMITTED
from chestseg.storage.objects import Objects
from tests.empty_store import empty_store
from tests.evaluation.prepared import write_prepared
from tests.inference.tiny import tiny_network, tiny_spec
from tests.servers import s3_server


def write_list(tmp_path: Path, track: str = "cxr", **changed: object) -> str:
    spec = tiny_spec().model_copy(update={"track": track})
    save_bundle(tmp_path / "bundle", spec, tiny_network().state_dict())
    tree = {
        "name": "lists",
        "model": str(tmp_path / "bundle"),
        "datasets": [{"name": name, "prepared": str(write_prepared(tmp_path / name).folder)} for name in ("one", "two")],
        "published": [{"method": "theirs", "source": "a paper", "values": {"two": 0.405, "three": 0.5}}],
        "tracking": {"uri": empty_store(tmp_path / "mlflow.db"), "experiment": "lists"},
        "storage": str(tmp_path / "runs"),
    }
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(tree | changed))
    return str(tmp_path / "list.yaml")


@pytest.mark.slow
def test_the_table_beside_what_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["external", write_list(tmp_path)]) == 0
    with open(tmp_path / "runs" / "lists" / "external.csv", newline="") as file:
        head, ours, theirs = csv.reader(file)
    assert head == ["", "one", "two", "three", "source"] and theirs == ["theirs", "-", "0.405", "0.500", "a paper"]
    assert ours[0] == "tiny (this model)" and 0 <= float(ours[1]) <= 1 and ours[1] == ours[2] and ours[3] == "-"
    page = (tmp_path / "runs" / "lists" / "external.html").read_text()
    assert "a paper" in page and "case-" not in page and (tmp_path / "runs" / "lists" / "two" / "report.html").exists()
    assert "theirs" in capsys.readouterr().out
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [run] = client.search_runs([client.get_experiment_by_name("lists").experiment_id])
    assert {"one_mean_dice", "two_mean_dice"} <= run.data.metrics.keys()


def test_what_does_not_fit_is_refused_before_anything_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["external", write_list(tmp_path, track="ct")]) == 2
    assert "give a model and a dataset of one track" in capsys.readouterr().err
    assert main(["external", write_list(tmp_path / "second", datasets=[{"name": "one", "prepared": str(tmp_path / "none")}])]) == 2
    assert "no prepared dataset" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists() and not (tmp_path / "second" / "runs").exists()


@pytest.mark.slow
def test_the_result_lies_in_a_bucket(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_list(tmp_path, storage="s3://lists/runs/")
    with s3_server() as server:
        server.make_bucket("lists")
        assert main(["external", config]) == 0
        found = Objects("s3://lists/runs/lists").list()
    assert {"external.csv", "external.html", "one/report.html", "two/summary.json"} <= found.keys()
    assert capsys.readouterr().out.rstrip().endswith("\ns3://lists/runs/lists/external.html")
    assert not list(tmp_path.glob("s3:*"))


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"storage": "s3://lists"}, "storage: a bucket alone, or none: give a folder in it"),
        ({"datasets": [{"name": "one", "prepared": "http://x/y"}]}, "datasets.0.prepared: neither a folder nor a bucket"),
    ],
)
def test_places_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, object], finding: str
) -> None:
    assert main(["external", write_list(tmp_path, **changed)]) == 2
    assert finding in capsys.readouterr().err


def test_what_would_vanish_with_a_submitted_job_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SUBMITTED, "{}")
    assert main(["external", write_list(tmp_path, storage="runs")]) == 2
    assert "runs: a relative path in a submitted job would vanish with it" in capsys.readouterr().err
