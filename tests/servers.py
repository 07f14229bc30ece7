"""Real servers on loopback for tests, started by hand and gone afterwards."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.empty_store import empty_store

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

STARTS_WITHIN = 240.0
"""Seconds a server may take on a busy machine."""


class MlflowServer:
    """An `mlflow server`, on SQLite by default: always the same port and data, so it may be killed and started again."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder, self.database = folder, database or empty_store(folder / "server.db")
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", self.database, "--artifacts-destination", f"{self.folder}/artifacts"]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | quiet, start_new_session=True)
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError((self.folder / "server.log").read_text())
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def mlflow_server(folder: Path, database: str | None = None) -> Iterator[MlflowServer]:
    """A running server that keeps its data in `folder`, or its records in another database."""
    server = MlflowServer(folder, database)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class S3Server:
    """moto's S3 in this process, at the address that tests/conftest.py tells every process of. It keeps its objects while it is stopped."""

    def __init__(self) -> None:
        self.url = os.environ["AWS_ENDPOINT_URL"]
        self._server: ThreadedMotoServer | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        from moto.server import ThreadedMotoServer

        host, _, port = self.url.removeprefix("http://").partition(":")
        self._server = ThreadedMotoServer(host, int(port), verbose=False)
        self._server.start()

    def stop(self) -> None:
        """From here on connections are refused."""
        if self._server:
            self._server.stop()
        self._server = None

    def make_bucket(self, name: str) -> str:
        """A new bucket, and its URI."""
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=60):
            return f"s3://{name}"


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running server, one at a time."""
    server = S3Server()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """An empty PostgreSQL in a folder of its own, and its URI; the test is skipped where there is none, but not in CI."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL: .ci/run installs it")
        pytest.skip("no PostgreSQL: install Debian's package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    options: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        shutil.chown(folder, "postgres")
        options["user"] = "postgres"
    subprocess.run([programs[-1] / "initdb", "-D", folder / "data", "-U", "test", "-A", "trust", "-N"], check=True, **options)
    port = free_port()
    command = [programs[-1] / "postgres", "-D", folder / "data", "-k", folder, "-h", "127.0.0.1", "-p", str(port), "-F"]
    server = subprocess.Popen(command, **options)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while (
            not (folder / f".s.PGSQL.{port}").exists()
            or subprocess.run([programs[-1] / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], check=False, **options).returncode
        ):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield f"postgresql+psycopg2://test@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown, whoever is connected
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
