"""A parent, children for trials, grandchildren for stages: the same through kills, outages and a lost database, each ended once."""

import pickle
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from chestseg.cli import sync
from chestseg.config import Experiment, Tracking
from chestseg.tracking.environment import connect
from chestseg.tracking.journal import FILE, Status, read_entries
from chestseg.tracking.run_ids import KEY, SWEEP
from chestseg.tracking.sender import SENT
from chestseg.tracking.sweep_runs import NUMBER, STATE, SweepRuns, TrialEnd, load_sweep_runs, open_sweep
from chestseg.tracking.tracked_run import TrackedRun
from tests.servers import MlflowServer, free_port

NAME = "size-search"
SPACE = {"trials": 4, "space": {"sizes": (32, 64)}}


def opened(folder: Path, experiment: Experiment, digest: str = "0123abcd") -> SweepRuns:
    return open_sweep(experiment.tracking, folder, NAME, digest, SPACE)


def trial(folder: Path, experiment: Experiment, number: int) -> Experiment:
    update = {"name": f"{NAME}-{number:04d}", "storage": str(folder / "trials"), "seed": number}
    return experiment.model_copy(update=update)


def train(run: TrackedRun, stages: int, epochs: int = 2) -> None:
    """What a trial's process does: it finishes every stage but the last one it comes to."""
    run = pickle.loads(pickle.dumps(run))
    with run.recorder(system_every=None) as recorder:
        for stage in range(stages):
            for epoch in range(epochs):
                recorder.record({"loss": 1 / (epoch + 1), "val_dice_positives": (epoch + stage) / 9}, epoch, stage)
            if stage + 1 < stages:
                recorder.finish_stage(stage)


def runs_of(client: MlflowClient, sweep: SweepRuns) -> dict[str, Run]:
    """By key without the sweep's, so `/0003/1` is stage 1 of trial 3; every key once."""
    ids = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(ids, f"tags.`{SWEEP}` = '{sweep.key}'")
    by_key = {run.data.tags[KEY].removeprefix(sweep.key): run for run in runs}
    assert len(by_key) == len(runs)
    return by_key


def statuses(client: MlflowClient, sweep: SweepRuns) -> dict[str, str]:
    return {key: run.info.status for key, run in runs_of(client, sweep).items()}


def losses(client: MlflowClient, sweep: SweepRuns, key: str) -> list[int]:
    return [m.step for m in client.get_metric_history(runs_of(client, sweep)[key].info.run_id, "loss")]


def times_ended(*folders: Path) -> Counter[str]:
    entries = (entry for folder in folders for entry, _ in read_entries(folder / FILE))
    return Counter(entry.run for entry in entries if isinstance(entry, Status) and entry.status != "RUNNING")


def test_three_generations_each_ended_as_it_went(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    with opened(tmp_path, experiment) as sweep:
        ways: list[tuple[int, TrialEnd]] = [(2, "complete"), (1, "pruned"), (2, "failed")]
        for number, (stages, state) in enumerate(ways):
            train(sweep.open_trial(trial(tmp_path, experiment, number), "feed", number), stages)
            sweep.close_trial(number, state, {"value": number / 10})
        sweep.close_trial(3, "failed")
        assert sweep.send()
    runs = runs_of(client, sweep)
    assert statuses(client, sweep) == {
        "": "FINISHED",
        "/0000": "FINISHED", "/0000/0": "FINISHED", "/0000/1": "FINISHED",
        "/0001": "KILLED", "/0001/0": "KILLED", "/0001/1": "KILLED",
        "/0002": "FAILED", "/0002/0": "FINISHED", "/0002/1": "FAILED",
        "/0003": "FAILED",
    }  # fmt: skip
    states = {run.data.tags[NUMBER]: run.data.tags[STATE] for run in runs.values() if NUMBER in run.data.tags}
    assert states == {"0": "complete", "1": "pruned", "2": "failed", "3": "failed"}
    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in runs.items()}
    assert all(parents[key] == runs[key.rpartition("/")[0]].info.run_id for key in runs if key)
    assert [runs[key].info.run_name for key in ("", "/0001", "/0001/1", "/0003")] == [
        NAME, f"0001 {NAME}", "0001.2: 64 px", f"0003 {NAME}",
    ]  # fmt: skip
    assert runs[""].data.params == {"trials": "4", "space.sizes": "(32, 64)"}
    assert runs["/0001"].data.params["stages.0.optimiser.lr"] == "0.01"
    assert runs["/0001"].data.tags["dataset_hash"] == "feed"
    assert runs["/0002"].data.metrics["value"] == 0.2
    assert losses(client, sweep, "/0000/1") == [0, 1]
    ends = times_ended(tmp_path / "mlflow", *(tmp_path / "trials").iterdir())
    assert set(ends.values()) == {1}
    assert len(ends) == 11


def test_killed_and_started_again_it_goes_on_with_the_same_runs(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    killed = opened(tmp_path, experiment)
    for number in range(3):
        train(killed.open_trial(trial(tmp_path, experiment, number), "feed", number), stages=2 - number % 2)
    killed.close_trial(0, "complete")
    killed.send()
    # Killed here: what comes next holds nothing but the folder.
    with opened(tmp_path, experiment) as sweep:
        sweep.close_trial(0, "complete")
        run = sweep.open_trial(trial(tmp_path, experiment, 1), "feed", 1)
        train(run, stages=2)
        sweep.close_trial(1, "complete")
        sweep.close_trial(2, "pruned")
    assert sweep.key == killed.key
    assert set(statuses(client, sweep).values()) == {"FINISHED", "KILLED"}
    assert [statuses(client, sweep)[f"/000{number}"] for number in range(3)] == ["FINISHED", "FINISHED", "KILLED"]
    assert losses(client, sweep, "/0001/0") == [0, 1]
    assert set(times_ended(tmp_path / "mlflow", *(tmp_path / "trials").iterdir()).values()) == {1}


def test_a_run_whose_making_was_not_remembered_is_found_again(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    sweep = opened(tmp_path, experiment)
    train(sweep.open_trial(trial(tmp_path, experiment, 0), "feed", 0), stages=1)
    assert sweep.send()
    before = {key: run.info.run_id for key, run in runs_of(client, sweep).items()}
    (tmp_path / "mlflow" / SENT).unlink()
    assert opened(tmp_path, experiment).send()
    assert {key: run.info.run_id for key, run in runs_of(client, sweep).items()} == before


def test_interrupted_it_is_killed_and_its_trials_go_on_later(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, experiment) as sweep:
        train(sweep.open_trial(trial(tmp_path, experiment, 0), "feed", 0), stages=2)
        raise KeyboardInterrupt
    assert statuses(client, sweep) == {"": "KILLED", "/0000": "KILLED", "/0000/0": "FINISHED", "/0000/1": "KILLED"}
    assert runs_of(client, sweep)["/0000"].data.tags[STATE] == "running"
    with opened(tmp_path, experiment) as again:
        again.open_trial(trial(tmp_path, experiment, 0), "feed", 0)
        assert again.send()
        assert statuses(client, sweep) == {"": "RUNNING", "/0000": "RUNNING", "/0000/0": "FINISHED", "/0000/1": "RUNNING"}
        again.close_trial(0, "complete")
    assert set(statuses(client, sweep).values()) == {"FINISHED"}


def test_an_end_that_was_not_told_before_the_stop_is_told_after_it(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    sweep = opened(tmp_path, experiment)
    sweep.open_trial(trial(tmp_path, experiment, 0), "feed", 0)
    sweep.close("KILLED")
    with opened(tmp_path, experiment) as again:
        again.close_trial(0, "complete")
    assert set(statuses(client, sweep).values()) == {"FINISHED"}


def test_the_trials_process_leaves_mlflow_alone(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    sweep = opened(tmp_path, experiment)
    run = sweep.open_trial(trial(tmp_path, experiment, 0), "feed", 0)
    train(run, stages=1)
    assert not run.send()
    assert not runs_of(client, sweep)
    with pytest.raises(AssertionError, match="ended by its sweep's driver"):
        run.close()


@pytest.mark.slow
def test_an_outage_delays_and_loses_nothing(
    tmp_path: Path, mlflow_process: MlflowServer, client: MlflowClient, experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path, experiment) as sweep, sweep.sending(every=0.02):
        first = sweep.open_trial(trial(tmp_path, experiment, 0), "feed", 0)
        train(first, stages=1)
        mlflow_process.kill()
        try:
            train(first, stages=2, epochs=4)
            sweep.close_trial(0, "complete", {"value": 0.5})
            train(sweep.open_trial(trial(tmp_path, experiment, 1), "feed", 1), stages=1)
            assert not sweep.send()
            # Killed and started again while MLflow is still away.
            sweep = opened(tmp_path, experiment)
            train(sweep.open_trial(trial(tmp_path, experiment, 1), "feed", 1), stages=1, epochs=3)
            sweep.close_trial(1, "pruned")
            assert not sweep.close()
            with pytest.raises(ValueError, match=r"Connection refused.*: start it, or name another"):
                sync.run(str(tmp_path))
        finally:
            mlflow_process.start()
    assert sync.run(str(tmp_path)) == 0
    assert capsys.readouterr().out.endswith(f"entries sent to {experiment.tracking.uri}, nothing is left\n")
    assert sweep.count_pending() == 0
    assert (losses(client, sweep, "/0000/0"), losses(client, sweep, "/0000/1")) == ([*range(4)], [*range(4)])
    assert losses(client, sweep, "/0001/0") == [*range(3)]
    assert Counter(statuses(client, sweep).values()) == {"FINISHED": 4, "KILLED": 3}


def test_a_run_deleted_in_mlflow_holds_the_others_up_no_longer(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    sweep = opened(tmp_path, experiment)
    for number in range(2):
        train(sweep.open_trial(trial(tmp_path, experiment, number), "feed", number), stages=1)
    assert sweep.send()
    client.delete_run(runs_of(client, sweep)["/0000"].info.run_id)
    sweep.close_trial(0, "complete")
    sweep.close_trial(1, "complete")
    assert not sweep.send()  # finds out
    assert sweep.close()
    assert statuses(client, sweep)["/0001"] == "FINISHED"
    assert "/0000" not in statuses(client, sweep)


def test_what_mlflow_has_lost_is_sent_again(tmp_path: Path, experiment: Experiment, caplog: pytest.LogCaptureFixture) -> None:
    database = tmp_path / "mlflow.db"
    experiment = experiment.model_copy(update={"tracking": Tracking(uri=f"sqlite:///{database}", experiment="lost")})
    client = connect(f"sqlite:///{database}")
    client.create_experiment("another that takes the first id")
    with sqlite3.connect(database) as empty, sqlite3.connect(tmp_path / "backup.db") as backup:
        empty.backup(backup)
    with opened(tmp_path / "sweep", experiment) as sweep:
        train(sweep.open_trial(trial(tmp_path / "sweep", experiment, 0), "feed", 0), stages=2)
        sweep.close_trial(0, "complete")
    with sqlite3.connect(tmp_path / "backup.db") as backup, sqlite3.connect(database) as filled:
        backup.backup(filled)
    assert not client.search_runs([e.experiment_id for e in client.search_experiments()])
    with opened(tmp_path / "sweep", experiment) as again:
        pass
    assert "has lost the runs" in caplog.text
    assert statuses(client, again) == {"": "FINISHED", "/0000": "FINISHED", "/0000/0": "FINISHED", "/0000/1": "FINISHED"}
    assert losses(client, again, "/0000/1") == [0, 1]


def test_folders_of_others_are_refused(tmp_path: Path, experiment: Experiment) -> None:
    sweep = opened(tmp_path / "sweep", experiment)
    with pytest.raises(ValueError, match="belongs to a sweep of digest 0123abcd, not feed"):
        opened(tmp_path / "sweep", experiment, digest="feed")
    elsewhere = experiment.model_copy(update={"tracking": Tracking(uri="http://elsewhere:5000")})
    with pytest.raises(ValueError, match=r"is tracked at .*, not http://elsewhere:5000: set tracking.uri back"):
        opened(tmp_path / "sweep", elsewhere)
    run = sweep.open_trial(trial(tmp_path / "sweep", experiment, 0), "feed", 0)
    with pytest.raises(ValueError, match="belongs to another run: give the sweep another name"):
        opened(tmp_path / "other", experiment).open_trial(trial(tmp_path / "sweep", experiment, 0), "feed", 0)
    with pytest.raises(ValueError, match="is a trial's: give the folder of its sweep"):
        sync.run(str(run.folder))
    with pytest.raises(ValueError, match="is not the folder of a tracked run"):
        load_sweep_runs(tmp_path)


def test_at_the_first_start_mlflow_must_be_there(tmp_path: Path, experiment: Experiment) -> None:
    away = Tracking(uri=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match=r"MLflow can't be used there .*: start it, or name another"):
        open_sweep(away, tmp_path, NAME, "0123abcd", {})
