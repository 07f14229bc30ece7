"""Which stores are accepted, and how soon and how clearly an absent one is reported."""

import os
import socket
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from chestseg.tracking import environment
from chestseg.tracking.environment import checked_uri, experiment_id, reach
from tests.servers import free_port


def test_a_database_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checked_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert checked_uri("sqlite:////var/mlflow.db?timeout=9") == "sqlite:////var/mlflow.db?timeout=9"
    assert checked_uri("http://host:5000") == "http://host:5000"


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///tmp/mlruns"])
def test_a_file_store_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"given up its file store; use sqlite:///mlflow\.db or a server's"):
        reach(uri)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="holds a password: leave it out and set MLFLOW_TRACKING_USERNAME") as caught:
        reach("http://me:hunter2@host:5000")
    assert "hunter2" not in str(caught.value)


def test_nobody_listens() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"tracking\.uri {uri}: .*Connection refused.*: start it, or name another") as caught:
        reach(uri)
    assert time.monotonic() - start < 15
    assert "\n" not in str(caught.value)


def test_somebody_listens_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert int(environment.FIRST_CONTACT["MLFLOW_HTTP_REQUEST_TIMEOUT"]) * 2 <= 12
    monkeypatch.setitem(environment.FIRST_CONTACT, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    before = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(ValueError, match="timed out"):
            reach(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 6
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == (before or environment.SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"])


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database at all, but long enough to be looked at" * 20)
    with pytest.raises(ValueError, match="not a database.*: give the path of an MLflow database"):
        reach(f"sqlite:///{tmp_path}/mlflow.db")


def test_an_experiment_is_made_once_and_a_deleted_one_is_named(client: MlflowClient) -> None:
    first = experiment_id(client, "made once")
    assert experiment_id(client, "made once") == first
    client.delete_experiment(first)
    with pytest.raises(ValueError, match="tracking.experiment 'made once' was deleted: restore it"):
        experiment_id(client, "made once")


def test_mlflow_calls_nobody(client: MlflowClient) -> None:
    from mlflow.telemetry import get_telemetry_client

    assert client and get_telemetry_client() is None
