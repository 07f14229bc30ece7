"""MLflow dies in mid-run: training goes on, and in the end every point is there once."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from chestseg.cli import sync
from chestseg.config import Experiment
from chestseg.tracking.runs import open_run
from chestseg.tracking.tracked_run import TrackedRun
from tests.servers import MlflowServer

EPOCHS = 9


def record_epochs(run: TrackedRun, epochs: range) -> None:
    with run.recorder(system_every=None) as recorder:
        for epoch in epochs:
            recorder.record({"loss": 1 / (epoch + 1), "val_dice": epoch / EPOCHS}, epoch, stage=0)


@pytest.mark.slow
def test_every_point_is_there_once(
    tmp_path: Path, mlflow_process: MlflowServer, client: MlflowClient, experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(experiment.tracking, tmp_path, experiment, "0123abcd")
    record_epochs(run, range(3))
    mlflow_process.kill()
    try:
        start = time.monotonic()
        record_epochs(run, range(3, 6))
        # A training killed here and resumed from an older checkpoint says epochs 4 and 5 again, a moment later.
        record_epochs(run, range(4, EPOCHS))
        (tmp_path / "cases.csv").write_text("a,b")
        run.log_files(tmp_path / "cases.csv", "tables")
        assert not run.close()
        assert time.monotonic() - start < 30
        with pytest.raises(ValueError, match=r"Connection refused.*: start it, or name another"):
            sync.run(str(tmp_path))
    finally:
        mlflow_process.start()
    assert sync.run(str(tmp_path)) == 0
    assert capsys.readouterr().out.endswith(f"16 entries sent to {run.uri}, nothing is left\n")
    for key in ("loss", "val_dice"):
        assert [m.step for m in client.get_metric_history(run.stage_run_ids[0], key)] == [*range(EPOCHS)]
    assert [f.path for f in client.list_artifacts(run.run_id, "tables")] == ["tables/cases.csv"]
    assert [client.get_run(r).info.status for r in (run.run_id, *run.stage_run_ids)] == ["FINISHED"] * 3
