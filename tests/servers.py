"""Real servers on loopback for tests, started by hand and gone afterwards."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

STARTS_WITHIN = 90.0
"""Seconds a server may take on a busy machine."""


class MlflowServer:
    """An `mlflow server` on SQLite: always the same port and data, so it may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--artifacts-destination", f"{self.folder}/artifacts"]
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
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """A running server that keeps its data in `folder`."""
    server = MlflowServer(folder)
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


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
