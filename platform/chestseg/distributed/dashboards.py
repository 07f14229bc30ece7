"""The three dashboards of a sweep on one machine, on loopback only: MLflow's and Optuna's servers, and Ray's, of the cluster there is."""

import contextlib
import json
import logging
import os
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private.services import get_webui_url_from_internal_kv

from chestseg.distributed.cluster import attach
from chestseg.distributed.local_server import ANSWERS_WITHIN, HOST, Dashboard, answers, choose_port, served
from chestseg.files import whole_file
from chestseg.tracking.environment import SETTINGS, checked_uri, require_database

MLFLOW_PORT, OPTUNA_PORT = 5000, 8080
"""Taken where they are free and no others are asked for."""
NOTE = "ray_dashboard.txt"
"""In a sweep's folder while it runs: the address of Ray's dashboard."""
QUIET = SETTINGS | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}


@contextlib.contextmanager
def mlflow_dashboard(uri: str, port: int | None = None, page: str = "") -> Iterator[Dashboard]:
    """MLflow's pages of a tracking URI: a server's own, or those of one that runs during the block.

    Args:
        uri: `tracking.uri` of an experiment; a relative SQLite path is seen from the current folder.
        port: of the server; 5000 or, where that is taken, any free one when None.
        page: to open, such as `#/experiments/1`.

    Raises:
        ValueError: the URI is none that MLflow takes, its database does not exist, the port is taken, or the server does not start.
    """
    uri = checked_uri(uri)
    require_database(uri)
    if uri.startswith("http"):
        yield Dashboard("MLflow", f"{uri.rstrip('/')}/{page}")
        return
    port = choose_port(port, MLFLOW_PORT, "--mlflow-port")
    command = ["mlflow", "server", "--workers", "1", "--backend-store-uri", uri, "--allowed-hosts", f"{HOST}:*,localhost:*"]
    with served("MLflow", [*command, "--host", HOST, "--port", str(port)], f"http://{HOST}:{port}/{page}", QUIET) as dashboard:
        yield dashboard


@contextlib.contextmanager
def optuna_dashboard(url: str, port: int | None = None) -> Iterator[Dashboard]:
    """`optuna-dashboard` of a storage, for the block.

    Args:
        url: of the storage; a password in it stays out of the command line and the logs.
        port: of the server; 8080 or, where that is taken, any free one when None.

    Raises:
        ValueError: the port is taken, or the server does not start.
    """
    port = choose_port(port, OPTUNA_PORT, "--optuna-port")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:  # readable by its owner only
        settings.write(f"[optuna_dashboard]\nstorage = {json.dumps(url)}\n")
        settings.flush()
        command = ["optuna_dashboard._cli", "--from-config", settings.name, "--server", "wsgiref", "--host", HOST, "--port", str(port)]
        with served("Optuna", command, f"http://{HOST}:{port}/dashboard/", {}) as dashboard:
            yield dashboard


@contextlib.contextmanager
def ray_dashboard(folder: Path) -> Iterator[Dashboard]:
    """Ray's pages: of the cluster RAY_ADDRESS names, of the one the sweep in `folder` runs on, or of one that runs during the block.

    Raises:
        ValueError: there is no cluster at RAY_ADDRESS.
    """
    address, noted = os.environ.get("RAY_ADDRESS", ""), _noted(folder)
    if address.startswith("http"):
        yield _ray_page(address)
    elif address:
        yield _ray_page(_joined(address))
    elif noted:
        yield _ray_page(noted)
    else:
        with _attached() as url:
            joining = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled")}
            joining[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
            shown = " ".join(f"{name}={value}" for name, value in joining.items())
            yield _ray_page(url, f"a cluster of its own; a sweep joins it when started with {shown}")


@contextlib.contextmanager
def tell_dashboard(folder: Path) -> Iterator[None]:
    """Leave the address of the attached cluster's dashboard in a sweep's folder during the block, for `ray_dashboard` to find."""
    with whole_file(folder / NOTE) as file:
        file.write_text(_own_url())
    try:
        yield
    finally:
        (folder / NOTE).unlink(missing_ok=True)


def _noted(folder: Path) -> str | None:
    """Address of the dashboard of the cluster a sweep runs on; None where it runs no more, or was killed and left its note."""
    try:
        url = (folder / NOTE).read_text().strip()
    except FileNotFoundError:
        return None
    return url if answers(url) else None


def _joined(address: str) -> str:
    try:
        with _attached() as url:
            return url
    except ConnectionError as error:
        raise ValueError(f"RAY_ADDRESS {address}: no cluster can be joined there: start it, or unset RAY_ADDRESS") from error


@contextlib.contextmanager
def _attached() -> Iterator[str]:
    """As `attach`, and gives the dashboard's address."""
    with _sigterm_kept():
        stack = contextlib.ExitStack()
        stack.enter_context(attach())
    with stack:
        yield _own_url()


def _own_url() -> str:
    """Address of the attached cluster's dashboard; a driver that joined while the head was still starting it was told of none."""
    with _sigterm_kept():
        told = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR).dashboard_url
    return f"http://{told or get_webui_url_from_internal_kv()}"


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """A signal to end goes on to mean what it did: whenever Ray is asked to start, it makes the process leave with a code of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ray_page(url: str, *hints: str) -> Dashboard:
    """Ray's page, and where its token lies if it asks for one; the token itself is not for a terminal."""
    url = url.rstrip("/")
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api/authentication_mode", timeout=ANSWERS_WITHIN) as answer:
        if json.load(answer)["authentication_mode"] == "token":
            hints = (f"asks for a token: {_where_token_lies()}", *hints)
    return Dashboard("Ray", url, hints)


def _where_token_lies() -> str:
    if "RAY_AUTH_TOKEN" in os.environ:
        return "the value of RAY_AUTH_TOKEN"
    return f"the content of {os.environ.get('RAY_AUTH_TOKEN_PATH') or Path.home() / '.ray' / 'auth_token'}"
