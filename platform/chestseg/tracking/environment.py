"""The door to MLflow: which stores are accepted, how long an absent one is waited for, and what MLflow may not do on the network.

MLflow is imported inside functions only: it takes seconds, and reads some of these settings while it is being imported.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
"""Ours where the user has set none: no calls home, no look at the folder's uv files, and an outage noticed at once: MLflow's own
seven retries take minutes and hold up what the journal would send later anyway."""

FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def checked_uri(uri: str) -> str:
    """`uri` as every process can use it: a SQLite path is made absolute against the current directory.

    Raises:
        ValueError: a file store, which MLflow no longer serves, or a URI with a password in it, which would be written into records.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        raise ValueError(
            f"tracking.uri {uri!r}: MLflow has given up its file store; use sqlite:///mlflow.db or a server's http://host:port"
        )
    if parts.password:
        shown = uri.replace(parts.password, "...")
        raise ValueError(
            f"tracking.uri {shown!r} holds a password: leave it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "(a server) or PGPASSWORD (PostgreSQL)"
        )
    if parts.scheme != "sqlite":
        return uri
    path, mark, options = uri.removeprefix("sqlite:///").partition("?")
    return f"sqlite:///{Path(path).absolute()}{mark}{options}"


def require_database(uri: str) -> None:
    """Refuse to read from a SQLite file that is not there: MLflow would make it, and then say that it holds no model.

    Args:
        uri: as `checked_uri` gives it.

    Raises:
        ValueError: names the file and the remedy.
    """
    if urlsplit(uri).scheme != "sqlite":
        return
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    if not path.is_file():
        raise ValueError(f"{path}: no such MLflow database: run where it lies, or name the right one with --tracking-uri or tracking.uri")


def connect(uri: str) -> MlflowClient:
    """Client of the store at `uri`; nothing is asked of a server yet, a SQLite file is made or migrated."""
    settle()
    from mlflow import MlflowClient
    from mlflow.telemetry import set_telemetry_client

    set_telemetry_client()  # looks at the setting again, for a process that had imported MLflow before
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def settle() -> None:
    """Apply `SETTINGS` to this process; to be called before MLflow is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def reach(uri: str) -> MlflowClient:
    """Client of a store that has just answered.

    Raises:
        ValueError: it did not, within about 15 seconds; names the URI, the reason and the remedy.
    """
    uri = checked_uri(uri)
    with explained(uri):
        client = connect(uri)
        with _impatient():
            client.search_experiments(max_results=1)
    return client


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow at `uri` raises inside into a `ValueError` with the remedy."""
    try:
        yield
    except troubles() as error:
        raise ValueError(f"tracking.uri {uri}: MLflow can't be used there ({reason(error)}): {_remedy(uri, error)}") from error


def troubles() -> tuple[type[Exception], ...]:
    """What MLflow raises when its store is away, refuses, or lacks a driver. Errors of `requests` are `OSError`s."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError, ModuleNotFoundError


def reason(error: Exception) -> str:
    """The first words of an error, on one line; the innermost cause where `requests` wraps several."""
    text = " ".join(str(error).split())
    return text.rpartition("Caused by ")[2][:160]


def experiment_id(client: MlflowClient, name: str) -> str:
    """Id of the experiment called `name`, made where it does not exist.

    Raises:
        ValueError: it was deleted, so nothing can be logged to it.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=_artifacts_beside_database(client.tracking_uri, name))
    if found.lifecycle_stage != "active":
        raise ValueError(
            f"tracking.experiment {name!r} was deleted: restore it (mlflow experiments restore) or set another tracking.experiment"
        )
    return found.experiment_id


def _artifacts_beside_database(uri: str, name: str) -> str | None:
    """Without a server MLflow would put artifacts under whatever directory is current; a server decides for itself."""
    if not uri.startswith("sqlite:"):
        return None
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    return (database.parent / "mlartifacts" / name).as_uri()


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """MLflow takes its limits from the environment at every request and has no argument for them."""
    before = {name: os.environ.get(name) for name in FIRST_CONTACT}
    os.environ.update(FIRST_CONTACT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _remedy(uri: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name}, the database's driver"
    if "error code 401" in str(error) or "error code 403" in str(error):
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if uri.startswith("sqlite:"):
        return "give the path of an MLflow database, or of a new file in a folder you can write to"
    return "start it, or name another; sqlite:///mlflow.db needs no server"
