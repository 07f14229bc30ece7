"""MLflow and the bucket are away for a minute in mid-run: the training goes on meanwhile, and nothing is lost."""

import time
from pathlib import Path

import pytest

from chestseg.distributed.drill import ended, finish
from chestseg.distributed.drill_account import repeated, same_weights
from chestseg.storage.objects import Objects
from chestseg.tracking.histories import difference
from tests.distributed.drilled import stage
from tests.servers import mlflow_server, s3_server

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]

AWAY = 60.0
"""Seconds."""
OF_A_RUN = ("mlflow.json", "final.safetensors")


def fetched(uri: str, folder: Path) -> Path:
    """What a comparison needs of a run in a bucket."""
    folder.mkdir()
    for name in OF_A_RUN:
        (folder / name).write_bytes(Objects(uri).read(name))
    return folder


def test_mlflow_and_the_bucket_away_for_a_minute_cost_nothing(tmp_path: Path) -> None:
    with s3_server() as s3, mlflow_server(tmp_path) as mlflow, stage(tmp_path, (1, 1), epochs=(60, 20)) as on:
        run = on.run("disturbed", storage=f"{s3.make_bucket('drill')}/runs", tracking=mlflow.uri)
        with ended(run):
            run.start()
            run.wait_for_step(10)
            s3.stop()
            mlflow.kill()
            before = len(run.steps())
            time.sleep(AWAY)
            assert len(run.steps()) > before
            mlflow.start()
            s3.start()
            finish(run)
        assert repeated(run.steps()) == 0
        alone = Path(on.left_alone(tracking=mlflow.uri).experiment.run_folder)
        own = fetched(run.experiment.run_folder, tmp_path / "fetched")
        assert same_weights(own, alone) and not difference(own, alone).any
