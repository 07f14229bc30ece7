"""A run that several starts of one piece of work have in common."""

from pathlib import Path

from chestseg.config import Tracking
from chestseg.tracking.environment import connect
from chestseg.tracking.evaluations import run_kept_in
from tests.empty_store import empty_store


def tracking_in(folder: Path) -> Tracking:
    return Tracking(uri=empty_store(folder / "mlflow.db"), experiment="kept")


def test_a_start_after_a_failure_goes_on_in_the_same_run(tmp_path: Path) -> None:
    tracking, record, seen = tracking_in(tmp_path), tmp_path / "record.json", []

    def status(run_id: str) -> str:
        return connect(tracking.uri).get_run(run_id).info.status

    for error, ended in ((ValueError("no space"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (None, "FINISHED")):
        try:
            with run_kept_in(record, tracking, "work", {"part": "one"}) as run_id:
                seen.append(run_id)
                assert status(run_id) == "RUNNING"
                if error:
                    raise error
        except (ValueError, KeyboardInterrupt) as raised:
            assert raised is error
        assert status(seen[0]) == ended
    assert len(set(seen)) == 1 and len(seen) == 3
    assert connect(tracking.uri).get_run(seen[0]).data.tags["part"] == "one"


def test_a_new_database_gets_a_new_run(tmp_path: Path) -> None:
    record, found = tmp_path / "record.json", []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        with run_kept_in(record, tracking_in(tmp_path / place), "work", {}) as run_id:
            found.append(run_id)
    assert found[0] != found[1] and found[1] in record.read_text()
