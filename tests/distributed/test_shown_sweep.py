"""A sweep in a bucket is shown as the one in a folder is, keeps up with its driver, and nothing is sent there."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from chestseg.cli import main
from chestseg.config.sweep import load_sweep
from chestseg.distributed.shown_sweep import shown_sweep
from chestseg.storage.objects import Objects
from chestseg.tracking.sweep_runs import is_sweep, load_sweep_runs
from chestseg.tuning.records import FILE, Asked, Measured, SweepJournal
from tests.cli.shown_sweep import TRIALS, show
from tests.servers import S3Server, s3_server

pytestmark = pytest.mark.slow

FOLDER = "s3://shown/sweeps/cxr-schedule"


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket("shown")
        yield server


def put(folder: Path) -> None:
    """All that a driver sends; Optuna's database stays."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    Objects(FOLDER).upload_all({name: path for name, path in files.items() if not name.startswith("optuna")})


@pytest.mark.usefixtures("s3")
def test_what_the_driver_said_is_shown_and_kept_up_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, outcome = show(tmp_path)
    here = Path(outcome.sweep.folder)
    journal = SweepJournal(here)
    journal.append(Measured("costs", {"costs": outcome.costs.model_dump(mode="json"), "speed": 1.0}))
    put(here)
    held = Objects(FOLDER).list()
    with shown_sweep(load_sweep(config, ["storage=s3://shown/sweeps"])) as shown:
        assert is_sweep(Path(shown.sweep.folder)) and load_sweep_runs(Path(shown.sweep.folder)).uri.endswith("mlflow.db")
        study = optuna.load_study(study_name="cxr-schedule", storage=shown.sweep.optuna)
        ours = optuna.load_study(study_name="cxr-schedule", storage=load_sweep(config).optuna)
        assert [trial.state for trial in study.trials] == [trial.state for trial in ours.trials]
        assert study.trials[0].user_attrs["name"] == ours.trials[0].user_attrs["name"]
        last = outcome.records[-1]
        journal.append(Asked(TRIALS, last.params, last.distributions))
        Objects(FOLDER).upload(here / FILE, FILE)
        monkeypatch.setattr("chestseg.distributed.shown_sweep.FETCHED_EVERY", 0.0)
        shown.keep_up()
        assert len(study.trials) == TRIALS, "it is not due yet"
        shown.fetch()
        assert len(study.trials) == TRIALS + 1
        folder = Path(shown.sweep.folder)
    assert not folder.exists() and Objects(FOLDER).list().keys() == held.keys()


@pytest.mark.usefixtures("s3")
def test_where_no_sweep_was_started_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = show(tmp_path)
    assert main(["dashboards", str(config), "--set", "storage=s3://shown/nothing"]) == 2
    assert "s3://shown/nothing/cxr-schedule: no sweep was started there" in capsys.readouterr().err
