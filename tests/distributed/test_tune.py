"""Sweeps on a real cluster: one that nobody disturbs, the same one killed and started again, trials of two workers, what fails."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
import yaml
from mlflow import MlflowClient
from ray.util.state import list_actors

from chestseg.cli import main
from chestseg.cli.tune import sampler_of
from chestseg.config import load_experiment
from chestseg.config.sweep import Sweep, load_sweep
from chestseg.phantoms.radiograph.siim import write_siim
from chestseg.tuning.compute import Costs
from chestseg.tuning.records import FILE, Reported, SweepJournal, TrialRecord, read_journal, records_of
from chestseg.tuning.space import experiment_of
from tests.empty_store import empty_store
from tests.small_job import small_job, write_job

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
TRIAL_ACTOR = "ImplicitFunc"
"""What Ray Tune calls the class it makes of a function."""
MLFLOW_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, cluster) -> Path:
    """Phantoms prepared, and a sweep of seconds over them: some trials have one stage, some two, some are stopped."""
    folder = tmp_path_factory.mktemp("tune")
    write_siim(folder / "siim", 24, seed=1, size=128)
    stage = {"epochs": 1, "batch": 4, "micro_batch": 2, "cases_per_epoch": 8, "optimiser": {"final_lr": 1e-6}}
    base = small_job(
        folder, "tuned", [{**stage, "size": 32}],
        data={"sizes": [32, 64], "folds": 3}, training={"precision": "fp32", "checkpoint_every": 3},
    )  # fmt: skip
    sweep = {
        "name": "small",
        "base": "tuned.yaml",
        "trials": 5,
        "seed": 2,
        "budget": {"unit": "flops", "per_trial": 4e9},
        "space": {"stages": [1, 2], "sizes": [32, 64], "lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "pruner": {"reduction": 2, "rungs": [0.3, 0.6]},
        "validations": 5,
        "at_once": 1,
        "storage": str(folder / "sweeps"),
    }
    path = folder / "sweep.yaml"
    path.write_text("# Made by a test.\n" + yaml.safe_dump(sweep))
    assert main(["prepare", str(write_job(folder, base))]) == 0
    return path


@pytest.fixture(scope="module")
def swept(config: Path) -> Sweep:
    """The sweep, run in this process to its end."""
    assert main(["tune", str(config)]) == 0
    return load_sweep(config)


@pytest.fixture(autouse=True)
def nothing_is_held(cluster) -> Iterator[None]:
    """After each test all that the cluster has is free again."""
    yield
    deadline = time.monotonic() + 30
    while held() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not held()


def held() -> dict[str, float]:
    has, free = ray.cluster_resources(), ray.available_resources()
    return {name: has[name] - free.get(name, 0) for name in ("CPU", "memory") if free.get(name, 0) < has[name]}


def records(folder: str | Path) -> list[TrialRecord]:
    return records_of(read_journal(Path(folder, FILE)))


def course(folder: str | Path) -> list[tuple[Any, ...]]:
    """All that a kill may not change."""
    return [
        (
            r.number,
            r.params,
            r.state,
            r.values,
            [(p.step, p.compute, p.value, p.goes_on, p.rung) for p in r.reports],
            r.extra.get("weights"),
        )
        for r in records(folder)
    ]


def set_to(**values: object) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def its_own(folder: Path, *changes: str) -> str:
    """Of a sweep's experiments: records in a database of their own, and what else is to change."""
    return str([*changes, f"tracking.uri={empty_store(folder / 'mlflow.db')}"])


def test_the_sweep_says_what_came_of_each_trial_and_leaves_a_result_that_trains(swept: Sweep, config: Path) -> None:
    found = records(swept.folder)
    assert len(found) == 5 and {record.state for record in found} == {"complete", "pruned"}
    best = load_experiment(Path(swept.folder, "result", "best.yaml"))
    assert best.stages and Path(swept.folder, "result", "report.html").exists()
    named = {link.name: link for link in Path(swept.folder, "by-name").iterdir()}
    assert len(named) == 5 and all(" px lr " in name for name in named)
    for record in found:
        [run] = [link for name, link in named.items() if name.startswith(f"{record.number:04d} ")]
        assert (run / "bundle" / "bundle.json").exists() == (record.state == "complete")
        assert not (run / "checkpoints").exists()


def test_optuna_mlflow_and_the_table_agree_trial_by_trial(swept: Sweep) -> None:
    study = optuna.load_study(study_name=swept.name, storage=swept.optuna)
    client = MlflowClient(swept.experiment.tracking.uri)
    runs = client.search_runs([client.get_experiment_by_name("tuned").experiment_id], f"params.name LIKE '{swept.name}%'")
    children = {int(run.data.tags["trial"]): run for run in runs if "trial" in run.data.tags}
    for record, trial in zip(records(swept.folder), study.trials, strict=True):
        assert trial.number == record.number and trial.params == pytest.approx(record.params)
        assert trial.state.name == {"complete": "COMPLETE", "pruned": "PRUNED"}[record.state]
        assert trial.intermediate_values == {report.step: report.value for report in record.reports}
        assert trial.values == list(record.values)
        run = children[record.number]
        assert run.data.tags["trial_state"] == record.state and run.info.status == MLFLOW_STATUS[record.state]
        history = [m.value for stage in stages_of(client, run) for m in client.get_metric_history(stage.info.run_id, swept.metric)]
        assert history == [report.value for report in record.reports]


def stages_of(client: MlflowClient, run: Any) -> list[Any]:
    found = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    return sorted(found, key=lambda stage: int(stage.data.tags["stage"]))


def test_a_finished_sweep_started_again_tries_nothing(swept: Sweep, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = Path(swept.folder, FILE).read_bytes()
    assert main(["tune", str(config)]) == 0
    assert Path(swept.folder, FILE).read_bytes() == before
    assert "going on: 5 trials have ended, 0 resume" in capfd.readouterr().out


@contextmanager
def started(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A driver, killed at the end of the block if it is still there."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=quiet, stderr=quiet, start_new_session=True) as driver:
        try:
            yield driver
        finally:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)


def wait_for(driver: subprocess.Popen[bytes], folder: Path, entries: int) -> None:
    """Until a sweep's journal has so many reports, or its driver has ended."""
    deadline = time.monotonic() + 240
    while driver.poll() is None and time.monotonic() < deadline:
        if sum(isinstance(entry, Reported) for entry in read_journal(folder / FILE) if folder.exists()) >= entries:
            return
        time.sleep(0.02)


def kill_trials(address: str) -> int:
    """Kill every process that a trial runs in; says how many there were."""
    actors = [a for a in list_actors(address, filters=[("state", "=", "ALIVE")]) if a.class_name == TRIAL_ACTOR]
    for actor in actors:
        os.kill(actor.pid, signal.SIGKILL)
    return len(actors)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_interrupted_it_goes_the_way_of_the_one_nobody_disturbed(swept: Sweep, config: Path, cluster, tmp_path: Path) -> None:
    overrides = {"storage": tmp_path, "set": its_own(tmp_path)}
    command, folder = [sys.executable, "jobs/tune.py", str(config), *set_to(**overrides)], tmp_path / swept.name
    with started(command, cluster.env) as driver:
        wait_for(driver, folder, 2)
        assert kill_trials(cluster.address) == 1
        wait_for(driver, folder, 4)
    with started(command, cluster.env) as driver:
        wait_for(driver, folder, 6)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(120) == 130
    assert subprocess.run(command, cwd=ROOT, env=cluster.env, capture_output=True, check=False).returncode == 0
    assert course(folder) == course(swept.folder)


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_hear_a_stop_and_outlive_a_kill_of_their_trial(config: Path, cluster, tmp_path: Path) -> None:
    """The second trial learns so fast that it is behind the first one at their rung."""
    overrides = {
        "name": "two", "storage": tmp_path, "trials": 2, "seed": 2, "sampler": "random", "validations": 2, "pruner__rungs": "[0.2]",
        "space": "{stages: 1, sizes: 64, lr: [1.0e-2, 1.0e-5]}",
        "set": its_own(tmp_path, "training.workers=2"),
    }  # fmt: skip
    folder, env = tmp_path / "two", cluster.env | {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}
    with started([sys.executable, "jobs/tune.py", str(config), *set_to(**overrides)], env) as driver:
        wait_for(driver, folder, 1)
        assert kill_trials(cluster.address) == 1
        assert driver.wait(270) == 0
    assert [record.state for record in records(folder)] == ["complete", "pruned"]


def test_a_trial_that_fails_says_why_and_the_sweep_goes_on(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    overrides = {
        "name": "wild", "storage": tmp_path, "trials": 2, "seed": 0, "sampler": "random",
        "space": "{stages: 1, sizes: 32, lr: [1.0e+38, 1.0e-3]}", "set": its_own(tmp_path),
    }  # fmt: skip
    assert main(["tune", str(config), *set_to(**overrides)]) == 0
    failed, complete = records(tmp_path / "wild")
    assert (failed.state, complete.state) == ("failed", "complete")
    assert "lower the learning rate" in failed.extra["reason"]
    assert f"failed {failed.extra['reason']}" in capfd.readouterr().out


def test_a_place_that_can_not_be_written_stops_the_sweep_and_the_trial_resumes_later(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file lies where the first trial's checkpoints go."""
    overrides = {
        "name": "hindered", "storage": tmp_path, "trials": 1, "sampler": "random", "set": its_own(tmp_path),
    }  # fmt: skip
    command, folder = [str(config), *set_to(**overrides)], tmp_path / "hindered"
    assert main(["tune", *command, "--plan"]) == 0
    sweep = load_sweep(config, command[2::2])
    costs = Costs.model_validate(SweepJournal(folder).measured("costs", dict)["costs"])
    run = Path(experiment_of(sweep, sweep.experiment, sampler_of(sweep).ask(0)[0], costs, 0).run_folder)
    run.mkdir(parents=True)
    (run / "checkpoints").write_text("in the way")
    assert main(["tune", *command]) == 2
    assert "chestseg: error: trial 0 can't go on (" in capfd.readouterr().err
    assert [record.state for record in records(folder)] == ["running"]
    (run / "checkpoints").unlink()
    assert main(["tune", *command]) == 0
    assert [record.state for record in records(folder)] == ["complete"]
    assert "going on: 0 trials have ended, 1 resume" in capfd.readouterr().out
