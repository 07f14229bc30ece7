"""Fixtures shared by all tests: the real images and one Ray cluster with token authentication."""

import os
import secrets
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
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
START_SECONDS = 120

# Ray reads these once, when it is first imported, so they are set before any test module is. The folder's name is short: sockets lie in it.
RAY_FOLDER = Path(tempfile.mkdtemp(prefix="ray-"))
TOKEN_FILE = RAY_FOLDER / "token"
TOKEN_FILE.write_text(secrets.token_hex(32))
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": str(TOKEN_FILE),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too this keeps every port on loopback
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # it also is the least time between two reports, and epochs here take less than its 2 s
    "NO_ALBUMENTATIONS_UPDATE": "1",
    # Two processes of tests share the cores: threads of one that wait for each other by spinning took 15 times as long beside the other.
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
os.environ.pop("RAY_ADDRESS", None)
# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Where the tests' S3 is, once one starts it, and keys that it takes; as on a cluster, every node has them in its environment.
os.environ |= {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_free_port()}",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "CHESTSEG_SCRATCH": str(RAY_FOLDER / "scratch"),
}


def pytest_unconfigure() -> None:
    shutil.rmtree(RAY_FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real images; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("CHESTSEG_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "siim").is_dir():
        pytest.skip("no real images: set CHESTSEG_DATA to the folder that holds siim/, pneumothorax_png/ and covid_cxr_png/")
    return folder


@dataclass(frozen=True)
class Cluster:
    """A running Ray head that this process is connected to."""

    address: str
    """Host and port, for `ray.init` and RAY_ADDRESS."""
    dashboard_url: str
    env: dict[str, str]
    """Environment for a subprocess that shall join the cluster, token and all."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One head of 4 logical CPUs for the whole session, started as a user would: `ray start --head`, token required."""
    import ray

    address, dashboard = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    bin_folder = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "platform")}
    command = [
        bin_folder / "ray", "start", "--head", "--block", "--num-cpus=4", "--object-store-memory=500000000",
        f"--port={address.rpartition(':')[2]}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard.rpartition(':')[2]}",
        f"--temp-dir={RAY_FOLDER / 'r'}",
    ]  # fmt: skip
    log = RAY_FOLDER / "head.log"
    with log.open("w") as output:
        head = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_until_up(f"http://{dashboard}/api/version", head, log)
        ray.init(address=address, logging_level="ERROR")
        yield Cluster(address, f"http://{dashboard}", env | {"RAY_ADDRESS": address})
    finally:
        ray.shutdown()
        _stop(head)


def _wait_until_up(url: str, head: subprocess.Popen, log: Path) -> None:
    """Until the dashboard asks for the token."""
    deadline = time.monotonic() + START_SECONDS
    while head.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            assert answer.code == 401, f"{url} answered {answer.code}"
            return
        except OSError:
            time.sleep(0.2)
        else:
            raise AssertionError(f"{url} answers without a token")
    raise AssertionError(f"ray start did not come up:\n{log.read_text()[-4000:]}")


def _stop(head: subprocess.Popen) -> None:
    """End the head, which ends what it started, and nothing else on the machine."""
    head.terminate()
    try:
        head.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
