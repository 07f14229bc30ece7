"""The whole path with everything in a bucket of a real S3 server: the bits of a local run, through kills and outages."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from safetensors.numpy import load

from chestseg.cli import main
from chestseg.config import load_experiment
from chestseg.data.prepared import PreparedDataset
from chestseg.phantoms.radiograph.siim import write_siim
from chestseg.storage.objects import PATIENCE, Objects
from tests.empty_store import empty_store
from tests.servers import S3Server, s3_server
from tests.small_job import small_job, write_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
EPOCHS = 24
"""Of a step each: enough for a kill to come in between."""


@dataclass(frozen=True)
class Job:
    """One experiment, with its results in a folder and in a bucket."""

    config: Path
    local: tuple[str, ...]
    bucket: tuple[str, ...]

    def local_run(self) -> Path:
        return Path(load_experiment(self.config, self.local[1::2]).run_folder)

    def bucket_run(self) -> Objects:
        return Objects(load_experiment(self.config, self.bucket[1::2]).run_folder)


def settings(**keys: object) -> tuple[str, ...]:
    return tuple(part for key, value in keys.items() for part in ("--set", f"{key.replace('__', '.')}={value}"))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket("job")
        yield server


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, cluster, s3: S3Server) -> Job:
    """The local run is done when this returns; of the sources the bucket has a copy."""
    folder = tmp_path_factory.mktemp("job")
    write_siim(folder / "siim", 12, seed=1, size=64)
    stage = {"size": 32, "epochs": EPOCHS, "batch": 4, "micro_batch": 2, "validate_every": 4, "swa": {"last": 2, "batch_norm_batches": 2}}
    sources = [{"reader": "siim", "path": str(folder / "siim"), "name": "siim"}]
    training = {"precision": "fp32", "checkpoint_every": 1}
    path = write_job(folder, small_job(folder, "job", [stage], data={"sources": sources}, training=training))
    sources = Objects("s3://job/siim")
    sources.upload_all({str(file.relative_to(folder / "siim")): file for file in (folder / "siim").rglob("*") if file.is_file()})
    local = settings(data__prepared=folder / "prepared", storage=folder / "runs", tracking__uri=empty_store(folder / "local.db"))
    bucket = settings(data__prepared="s3://job/prepared", storage="s3://job/runs", tracking__uri=empty_store(folder / "bucket.db"))
    job = Job(path, local, (*bucket, "--set", "data.sources.0.path=s3://job/siim"))
    assert main(["prepare", str(path), *local]) == 0
    assert main(["train", str(path), *local]) == 0
    return job


@pytest.fixture(scope="module")
def prepared(job: Job) -> Job:
    assert main(["prepare", str(job.config), *job.bucket]) == 0
    return job


class Driver:
    """A started `jobs/train.py`, whose output lies in a file."""

    def __init__(self, job: Job, cluster, *more: str, patience: float = 60) -> None:
        self.log = job.config.with_suffix(".log")
        command = [sys.executable, "jobs/train.py", str(job.config), *job.bucket, *more]
        env = {**cluster.env, PATIENCE: str(patience)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self) -> tuple[int, str]:
        """Its exit code, and what it said."""
        return self.process.wait(600), self.log.read_text()

    def wait_for_checkpoints(self, run: Objects, count: int) -> None:
        deadline, steps = time.monotonic() + 600, set[str]()
        while len(steps) < count:
            steps |= {name for name in run.list("checkpoints") if name.endswith("state.json")}
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)


def test_a_dataset_in_a_bucket_is_the_local_one(prepared: Job, capfd: pytest.CaptureFixture[str]) -> None:
    local, bucket = (
        PreparedDataset.open(load_experiment(prepared.config, told[1::2]).data.prepared) for told in (prepared.local, prepared.bucket)
    )
    assert local.hash == bucket.hash and local.case_ids == bucket.case_ids
    assert all(np.array_equal(local.image(i, 32), bucket.image(i, 32)) for i in range(len(local)))
    assert main(["prepare", str(prepared.config), *prepared.bucket]) == 0
    assert "s3://job/prepared: " in (said := capfd.readouterr().err) and "1 finished" in said


def test_a_run_killed_in_mid_way_goes_on_in_the_bucket_and_ends_with_the_bits_of_a_local_one(prepared: Job, cluster) -> None:
    run = prepared.bucket_run()
    with Driver(prepared, cluster) as driver:
        driver.wait_for_checkpoints(run, 1)
    assert "final.safetensors" not in run.list()
    code, said = Driver(prepared, cluster).wait()
    assert code == 0, said[-4000:]
    assert "Going on with s3://job/runs/job-" in said and "going on at stage" in said and f"{run.uri}/bundle" in said
    for name in ("final.safetensors", "bundle/model.safetensors"):
        one, other = load((prepared.local_run() / name).read_bytes()), load(run.read(name))
        assert one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_mlflow_has_each_point_once(prepared: Job) -> None:
    """Follows the kill above."""
    histories = []
    for told in (prepared.local, prepared.bucket):
        client = MlflowClient(load_experiment(prepared.config, told[1::2]).tracking.uri)
        [stage] = [r for r in client.search_runs(["1"]) if "mlflow.parentRunId" in r.data.tags]
        assert stage.info.status == "FINISHED"
        histories.append([(point.step, point.value) for point in client.get_metric_history(stage.info.run_id, "loss")])
    assert histories[0] == histories[1] and len(histories[0]) == EPOCHS


def test_evaluate_and_predict_take_uris(prepared: Job, tmp_path: Path) -> None:
    bundle, output = f"{prepared.bucket_run().uri}/bundle", "s3://job/evaluated"
    assert main(["evaluate", str(prepared.config), *prepared.bucket, "--model", bundle, "--split", "test", "--output", output]) == 0
    local = str(prepared.local_run() / "bundle")
    assert (
        main(["evaluate", str(prepared.config), *prepared.local, "--model", local, "--split", "test", "--output", str(tmp_path / "e")]) == 0
    )
    assert Objects(output).read("cases.csv") == (tmp_path / "e" / "cases.csv").read_bytes()
    assert main(["predict", "s3://job/siim/dicom-images-test", "--model", bundle, "--output", "s3://job/masks"]) == 0
    [images] = (prepared.config.parent / "siim").glob("dicom-images-test")
    assert main(["predict", str(images), "--model", local, "--output", str(tmp_path / "masks")]) == 0
    masks = {name: Objects("s3://job/masks").read(name) for name in Objects("s3://job/masks").list() if name.endswith(".png")}
    assert masks and masks == {str(p.relative_to(tmp_path / "masks")): p.read_bytes() for p in (tmp_path / "masks").rglob("*.png")}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # of its own defaults, when it is made
def test_a_batch_takes_a_bucket_and_leaves_its_results_in_one(prepared: Job, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, output = str(prepared.local_run() / "bundle"), "s3://job/batch"
    given = ["batch-predict", "s3://job/siim/dicom-images-test", "--model", model, "--device", "cpu", "--output", output]
    assert main(given) == 0
    [images] = (prepared.config.parent / "siim").glob("dicom-images-test")
    assert main(["predict", str(images), "--model", model, "--device", "cpu", "--output", str(tmp_path / "masks")]) == 0
    put = Objects(output)
    masks = {name: put.read(name) for name in put.list() if name.endswith(".png")}
    assert masks and masks == {str(p.relative_to(tmp_path / "masks")): p.read_bytes() for p in (tmp_path / "masks").rglob("*.png")}
    assert put.read("table.csv").decode().count("s3://job/siim/dicom-images-test/") == len(masks)
    torn = min(masks)
    put.write(torn, masks[torn][:-10])
    capfd.readouterr()
    assert main(given) == 0
    assert f"{len(masks)} items, {len(masks) - 1} finished: 1 to segment" in capfd.readouterr().err
    assert put.read(torn) == masks[torn]


@pytest.mark.drill
def test_a_bucket_that_is_away_for_a_while_costs_nothing(prepared: Job, cluster, s3: S3Server) -> None:
    more = settings(storage="s3://job/outage", tracking__uri=empty_store(prepared.config.parent / "outage.db"))
    run = Objects(prepared.bucket_run().uri.replace("/runs/", "/outage/"))
    with Driver(prepared, cluster, *more) as driver:
        driver.wait_for_checkpoints(run, 1)
        s3.stop()
        time.sleep(3)
        s3.start()
        code, said = driver.wait()
    assert code == 0, said[-4000:]
    assert run.read("final.safetensors") == (prepared.local_run() / "final.safetensors").read_bytes()


@pytest.mark.drill
def test_a_bucket_that_stays_away_ends_the_run_in_one_line_and_it_goes_on_later(prepared: Job, cluster, s3: S3Server) -> None:
    more = settings(storage="s3://job/away", tracking__uri=empty_store(prepared.config.parent / "away.db"), stages__0__epochs=48)
    run = Objects(load_experiment(prepared.config, [*prepared.bucket[1::2], *more[1::2]]).run_folder)
    with Driver(prepared, cluster, *more, patience=0) as driver:
        driver.wait_for_checkpoints(run, 1)
        s3.stop()
        code, said = driver.wait()
        s3.start()
    assert code == 2 and "no answer for 0 s" in said.splitlines()[-1], said[-4000:]
    assert [name for name in run.list("checkpoints") if name.endswith("state.json")]
    code, said = Driver(prepared, cluster, *more).wait()
    assert code == 0 and "going on at stage" in said, said[-4000:]


@pytest.mark.drill
def test_a_sweep_in_a_bucket_is_the_local_one_and_goes_on_from_there(prepared: Job, s3: S3Server) -> None:
    folder = prepared.config.parent
    sweep = {
        "name": "sweep", "base": prepared.config.name, "trials": 2, "at_once": 1, "pruner": None, "metric": "val_dice",
        "budget": {"unit": "flops", "per_trial": 1e9},
        "space": {"stages": [1], "sizes": [32], "lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "validations": 2,
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text("# Made by a test.\n" + yaml.safe_dump(sweep))
    changes = {"local": list(prepared.local[1::2]), "bucket": list(prepared.bucket[1::2])}
    for place, storage in (("local", str(folder / "sweeps")), ("bucket", "s3://job/sweeps")):
        assert main(["tune", str(path), *settings(storage=storage), "--set", f"set={json.dumps(changes[place])}"]) == 0
    held = Objects("s3://job/sweeps/sweep")
    ends = [[e for e in map(json.loads, text.splitlines()) if "weights" in json.dumps(e)] for text in (
        (folder / "sweeps" / "sweep" / "journal.jsonl").read_text(), held.read("journal.jsonl").decode())]  # fmt: skip
    weights = [sorted(re.findall(r'"weights": "(\w+)"', json.dumps(end))) for end in ends]
    assert len(weights[0]) == 2 and weights[0] == weights[1]
    names = held.list()
    assert "result/trials.csv" in names and sum(name.endswith("bundle/bundle.json") for name in names) == 2
    assert not [name for name in names if "/checkpoints/" in name or "optuna" in name]
    more = [*settings(storage="s3://job/sweeps", trials=3), "--set", f"set={json.dumps(changes['bucket'])}"]
    assert main(["tune", str(path), *more]) == 0
    assert sum(name.endswith("bundle/bundle.json") for name in held.list()) == 3
