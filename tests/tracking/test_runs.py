"""One parent and a child for each stage, the same after a restart, each ended once and rightly."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from chestseg.config import Experiment
from chestseg.tracking.runs import flattened, open_run
from chestseg.tracking.tracked_run import TrackedRun, load_run


def opened(folder: Path, experiment: Experiment) -> TrackedRun:
    return open_run(experiment.tracking, folder, experiment, dataset_hash="0123abcd")


def statuses(client: MlflowClient, run: TrackedRun) -> list[str]:
    return [client.get_run(r).info.status for r in (run.run_id, *run.stage_run_ids)]


def children(client: MlflowClient, run: TrackedRun) -> list[Run]:
    return client.search_runs([run.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'", order_by=["tags.stage"])


def test_what_a_run_says(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    run = opened(tmp_path / "run", experiment)
    data = client.get_run(run.run_id).data
    assert data.params["stages.0.optimiser.lr"] == "0.01"
    assert data.params["model.encoder"] == "mobilenet_v2"
    assert not [key for key in data.params if key.startswith(("tracking", "storage"))]
    assert (data.tags["dataset_hash"], data.tags["config_digest"]) == ("0123abcd", experiment.digest)
    assert data.tags["code_version"].startswith(data.tags["chestseg_version"])
    assert (data.tags["mlflow.runName"], "mlflow.user" in data.tags) == ("small", True)
    assert [c.info.run_name for c in children(client, run)] == ["small stage 1: 32 px", "small stage 2: 64 px"]
    assert load_run(tmp_path / "run") == run


def test_killed_while_starting_it_goes_on_with_the_same_runs(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    run = opened(tmp_path, experiment)
    record = json.loads((tmp_path / "mlflow.json").read_text())
    del record["stage_run_ids"][1]
    (tmp_path / "mlflow.json").write_text(json.dumps(record))
    client.delete_run(run.stage_run_ids[1])
    again = opened(tmp_path, experiment)
    assert (again.run_id, again.stage_run_ids[0]) == (run.run_id, run.stage_run_ids[0])
    assert len(children(client, again)) == 2


def test_the_block_decides_how_runs_end(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, experiment) as run, run.recorder(system_every=None) as recorder:
        recorder.finish_stage(0)
        raise KeyboardInterrupt
    assert statuses(client, run) == ["KILLED", "FINISHED", "KILLED"]
    assert run.close("FAILED")  # ended already: changes nothing
    assert statuses(client, run) == ["KILLED", "FINISHED", "KILLED"]
    with pytest.raises(ZeroDivisionError), opened(tmp_path, experiment) as again:
        again.send()
        assert statuses(client, again) == ["RUNNING", "FINISHED", "RUNNING"]
        _ = 1 / 0
    assert again == run
    assert statuses(client, run) == ["FAILED", "FINISHED", "FAILED"]
    with opened(tmp_path, experiment):
        pass
    assert statuses(client, run) == ["FINISHED", "FINISHED", "FINISHED"]


def test_metrics_and_their_picture(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    with opened(tmp_path, experiment) as run:
        with run.recorder(system_every=0.3) as recorder:
            for epoch in range(2):
                recorder.record({"loss": 1 / (epoch + 1), "val_dice": epoch / 2}, step=epoch, stage=0)
            recorder.record({"test_dice": 0.5}, step=0)
            recorder.close()
        run.log_curves()
    assert [m.value for m in client.get_metric_history(run.stage_run_ids[0], "val_dice")] == [0, 0.5]
    assert client.get_run(run.run_id).data.metrics["test_dice"] == 0.5
    assert [f.path for f in client.list_artifacts(run.run_id)] == ["curves.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "0" * 12}, "belongs to an experiment of digest 000000000000"),
        ({"uri": "http://elsewhere:5000"}, "is tracked at http://elsewhere:5000, not .*: set tracking.uri back, or start new MLflow runs"),
        ({"run_id": "0" * 32}, "no longer has run 0{32} of .*: restore it there, or start new MLflow runs by deleting mlflow.json"),
    ],
)
def test_a_folder_of_other_runs_is_refused(tmp_path: Path, experiment: Experiment, change: dict[str, str], message: str) -> None:
    opened(tmp_path, experiment)
    record = json.loads((tmp_path / "mlflow.json").read_text())
    (tmp_path / "mlflow.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, experiment)


def test_no_run_no_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a tracked run"):
        load_run(tmp_path)


def test_flattened_keys_are_those_of_set() -> None:
    tree = {"a": {"b": 1}, "stages": ({"lr": 0.1}, {"lr": 0.2}), "sizes": (256, 512), "none": None}
    assert flattened(tree) == {"a.b": "1", "stages.0.lr": "0.1", "stages.1.lr": "0.2", "sizes": "(256, 512)", "none": "None"}
