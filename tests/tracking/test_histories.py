"""Two runs' curves in MLflow are compared point by point."""

from pathlib import Path

from mlflow import MlflowClient

from chestseg.config import Experiment
from chestseg.tracking.histories import Difference, difference
from chestseg.tracking.runs import open_run
from chestseg.tracking.tracked_run import TrackedRun


def recorded(folder: Path, experiment: Experiment, losses: list[float]) -> TrackedRun:
    run = open_run(experiment.tracking, folder, experiment, dataset_hash="0123abcd")
    with run.recorder(system_every=None) as recorder:
        for step, loss in enumerate(losses):
            recorder.record({"loss": loss, "images_per_second": 1 / (1 + loss + len(str(folder)))}, step=step, stage=1)
    return run


def test_equal_curves_have_no_difference(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    for name in ("one", "other-one"):
        recorded(tmp_path / name, experiment, [3.0, 2.0])
    assert difference(tmp_path / "one", tmp_path / "other-one") == Difference(0, 0, 0)


def test_points_that_are_doubled_missing_or_changed_are_counted(tmp_path: Path, client: MlflowClient, experiment: Experiment) -> None:
    recorded(tmp_path / "whole", experiment, [3.0, 2.0, 1.0])
    run = recorded(tmp_path / "less", experiment, [3.0, 2.5])
    client.log_metric(run.stage_run_ids[1], "loss", 3.0, timestamp=1, step=0)
    found = difference(tmp_path / "less", tmp_path / "whole")
    assert found == Difference(doubled=1, missing=2, changed=1) and found.any
    assert difference(tmp_path / "less", tmp_path / "whole", values=False) == Difference(doubled=1, missing=2, changed=0)
