"""The whole training job on a real cluster: submitted, tracked, registered, interrupted and resumed, shared by two workers."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from chestseg.bundle import load_bundle
from chestseg.cli import main
from chestseg.config import load_experiment
from chestseg.inference.golden import check_golden
from chestseg.phantoms.radiograph.make import make_phantom
from chestseg.phantoms.radiograph.siim import write_siim
from chestseg.tracking.journal import Journal, Metric, read_entries
from chestseg.tracking.tracked_run import load_run
from tests.empty_store import empty_store
from tests.small_job import small_job, write_job

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, cluster) -> Path:
    """Phantoms prepared, and a two-stage experiment of seconds over them."""
    folder = tmp_path_factory.mktemp("job")
    write_siim(folder / "siim", 24, seed=1, size=128)
    stage = {"epochs": 3, "batch": 4, "micro_batch": 2}
    stages = [{**stage, "size": 32, "positives": 0.5}, {**stage, "size": 64, "swa": {"last": 2, "batch_norm_batches": 4}}]
    training = {"precision": "fp32", "checkpoint_every": 2}
    path = write_job(folder, small_job(folder, "job", stages, data={"folds": 3}, training=training, tracking={"model": "cxr-job"}))
    assert main(["prepare", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def submitted(config: Path, cluster) -> str:
    """Output of the job, submitted to the cluster with its token as the README says."""
    ray = Path(sys.executable).parent / "ray"
    command = [ray, "job", "submit", "--address", cluster.dashboard_url, "--runtime-env", "jobs/runtime_env.yaml", "--"]
    done = subprocess.run(
        [*command, "python", "jobs/train.py", str(config)], cwd=ROOT, env=cluster.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def points(run_folder: str, key: str) -> list[float]:
    entries = [e for e, _ in read_entries(Journal(Path(run_folder)).path) if isinstance(e, Metric) and e.key == key]
    return [e.value for e in entries]


def test_the_job_tells_each_epoch_and_where_the_bundle_is(submitted: str, config: Path) -> None:
    for stage, size in ((1, 32), (2, 64)):
        assert submitted.count(f"stage {stage}/2 at {size} px, epoch 3/3: loss") == 1
    assert "cxr-job version 1 is the candidate" in submitted
    bundle = load_bundle(f"{load_experiment(config).run_folder}/bundle")
    assert check_golden(bundle) < 1e-3
    assert {"test_mean_dice", "test_all_empty", "validation_dice_positives"} <= set(bundle.spec.metrics)


def test_mlflow_has_a_run_for_the_job_and_one_for_each_stage(submitted: str, config: Path) -> None:
    client = MlflowClient(load_experiment(config).tracking.uri)
    runs = client.search_runs([client.get_experiment_by_name("job").experiment_id])
    assert len(runs) == 3 and {run.info.status for run in runs} == {"FINISHED"}
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    for child in (run for run in runs if run is not parent):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert [m.step for m in client.get_metric_history(child.info.run_id, "loss")] == [0, 1, 2]
    assert parent.data.params["stages.1.size"] == "64" and parent.data.tags["dataset_hash"]
    assert {"curves.png", "evaluation"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_the_candidate_predicts_through_mlflow(submitted: str, config: Path) -> None:
    mlflow.set_tracking_uri(load_experiment(config).tracking.uri)
    image, _ = make_phantom(5, 128)
    masks = mlflow.pyfunc.load_model("models:/cxr-job@candidate").predict(image[None])
    assert np.asarray(masks).shape == (1, 128, 128)


def test_a_finished_run_started_again_changes_nothing(submitted: str, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    final = Path(load_experiment(config).run_folder, "final.safetensors")
    before = final.read_bytes()
    assert main(["train", str(config)]) == 0
    assert final.read_bytes() == before
    assert "Going on with" in capfd.readouterr().out


def start_until(command: list[str], env: dict[str, str], run_folder: Path, epochs: int) -> subprocess.Popen[bytes]:
    """Start a driver and come back when its run has recorded so many epochs."""
    quiet = subprocess.DEVNULL
    driver = subprocess.Popen(command, cwd=ROOT, env=env, stdout=quiet, stderr=quiet, start_new_session=True)
    deadline = time.monotonic() + 240
    while not (run_folder / "journal.jsonl").exists() or len(points(str(run_folder), "loss")) < epochs:
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return driver


def status(run_folder: Path) -> str | None:
    """What the journal says last of the job's own run."""
    return Journal(run_folder).status(load_run(run_folder).run_id)


def test_a_driver_interrupted_in_mid_run_and_started_again_ends_with_the_same_bits(submitted: str, config: Path, cluster) -> None:
    """Another storage and MLflow, the same experiment: what the submitted job learned, this one must learn too. A drill kills one."""
    undisturbed = load_experiment(config)
    again = config.parent / "again"
    overrides = ["--set", f"storage={again}", "--set", f"tracking.uri={empty_store(config.parent / 'again.db')}"]
    command = [sys.executable, "jobs/train.py", str(config), *overrides]
    run_folder = Path(again, Path(undisturbed.run_folder).name)
    driver = start_until(command, cluster.env, run_folder, epochs=2)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(60) == 130
    assert status(run_folder) == "KILLED"
    assert not (run_folder / "final.safetensors").exists()
    done = subprocess.run(command, cwd=ROOT, env=cluster.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "going on at stage" in done.stdout and "stage 1/2 at 32 px, epoch 1/3" not in done.stdout
    one, other = (load_file(f"{folder}/final.safetensors") for folder in (undisturbed.run_folder, run_folder))
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    assert points(str(run_folder), "loss") == points(undisturbed.run_folder, "loss")


def test_two_workers_share_the_list_of_micro_batches(submitted: str, config: Path) -> None:
    overrides = [f"storage={config.parent}/two", f"tracking.uri={empty_store(config.parent / 'two.db')}", "training.workers=2"]
    assert main(["train", str(config), *(part for o in overrides for part in ("--set", o))]) == 0
    two = points(load_experiment(config, overrides).run_folder, "loss")
    np.testing.assert_allclose(two, points(load_experiment(config).run_folder, "loss"), rtol=1e-3)


def test_what_the_engine_refuses_is_told_in_its_words(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    overrides = ["--set", "name=wrong", "--set", "stages.1.size=128"]
    assert main(["train", str(config), *overrides]) == 2
    assert "a stage of size 128 is larger than all data.sizes" in capfd.readouterr().err
