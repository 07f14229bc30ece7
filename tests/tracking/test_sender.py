"""Entries arrive in MLflow in order, in batches, each point once."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from chestseg.tracking import sender
from chestseg.tracking.environment import experiment_id
from chestseg.tracking.journal import Files, Journal, Metric, Status
from chestseg.tracking.sender import SENT, Sender, count_pending, send_pending
from tests.servers import free_port


@pytest.fixture
def run(client: MlflowClient) -> str:
    return client.create_run(experiment_id(client, "sender")).info.run_id


def points(run: str, steps: range, key: str = "loss") -> list[Metric]:
    return [Metric(run, key, step / 10, step, 1000 + step) for step in steps]


def steps(client: MlflowClient, run: str, key: str = "loss") -> list[int]:
    return [m.step for m in client.get_metric_history(run, key)]


def test_sends_in_batches_and_remembers(tmp_path: Path, client: MlflowClient, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "BATCH", 4)
    other = client.create_run(experiment_id(client, "sender")).info.run_id
    journal = Journal(tmp_path)
    journal.append(p for pair in zip(points(run, range(5)), points(other, range(5)), strict=True) for p in pair)
    assert count_pending(tmp_path) == 10
    assert send_pending(tmp_path, client) == 10
    assert send_pending(tmp_path, client) == 0
    journal.append(points(run, range(5, 7)))
    assert send_pending(tmp_path, client) == 2
    assert (steps(client, run), steps(client, other)) == ([*range(7)], [*range(5)])


def test_sent_again_is_there_once(tmp_path: Path, client: MlflowClient, run: str) -> None:
    Journal(tmp_path).append([*points(run, range(3)), Metric(run, "loss", float("nan"), 3, 1003)])
    send_pending(tmp_path, client)
    (tmp_path / SENT).unlink()  # killed before it could be remembered
    assert send_pending(tmp_path, client) == 4
    history = client.get_metric_history(run, "loss")
    assert [(m.step, m.timestamp) for m in history] == [(step, 1000 + step) for step in range(4)]


def test_files_then_status(tmp_path: Path, client: MlflowClient, run: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.txt").write_text("1")
    (tmp_path / "cases.csv").write_text("a,b")
    entries = [Files(run, "pictures", "overlays"), Files(run, str(tmp_path / "cases.csv"), None), Status(run, "FAILED", 123456)]
    Journal(tmp_path).append(entries)
    send_pending(tmp_path, client)
    assert {f.path for f in client.list_artifacts(run)} == {"overlays", "cases.csv"}
    assert [f.path for f in client.list_artifacts(run, "overlays")] == ["overlays/one.txt"]
    info = client.get_run(run).info
    assert (info.status, info.end_time) == ("FAILED", 123456)


def test_a_file_that_is_gone_is_named_and_holds_nothing_up(
    tmp_path: Path, client: MlflowClient, run: str, caplog: pytest.LogCaptureFixture
) -> None:
    Journal(tmp_path).append([Files(run, "gone.png", None), *points(run, range(1))])
    assert send_pending(tmp_path, client) == 2
    assert "gone.png is no longer there" in caplog.text
    assert steps(client, run) == [0]


def test_the_thread_only_warns_when_nobody_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Journal(tmp_path).append(points("a", range(3)))
    background = Sender(tmp_path, f"http://127.0.0.1:{free_port()}", every=0.01)
    assert background.close(timeout=20) == 3
    assert "metrics are kept in" in caplog.text
    assert not (tmp_path / SENT).exists()
