"""A real Prometheus on loopback for tests, started by hand and gone afterwards; Debian's package `prometheus` has it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import STARTS_WITHIN, free_port


def program(name: str) -> str:
    """Path of `prometheus` or `promtool`; a test that needs it is skipped where it is absent, but not in CI."""
    found = shutil.which(name)
    if found is None:
        reason = f"no {name}: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Prometheus:
    """Answers of a running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **arguments: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def names(self) -> set[str]:
        """Of all metrics it has."""
        return set(self.ask("label/__name__/values"))

    def value(self, expression: str) -> list[Any]:
        return self.ask("query", query=expression)["result"]


@contextlib.contextmanager
def scraping(discovery: Path, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that finds Ray's nodes by Ray's own file and asks each every five seconds: late answers take above one."""
    job = {"job_name": "ray", "file_sd_configs": [{"files": [str(discovery)], "refresh_interval": "1s"}]}
    often = {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "5s"}
    config = {"global": often, "rule_files": [str(rules)], "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/-/ready", process, folder / "prometheus.log")
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
