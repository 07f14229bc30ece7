"""One command serves three dashboards on loopback, says what a browser needs, and leaves nothing behind."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from chestseg.cli import main
from tests.cli.shown_sweep import show
from tests.conftest import ROOT, TOKEN_FILE, Cluster

COMMAND = [sys.executable, "-c", "import sys; from chestseg.cli import main; sys.exit(main(sys.argv[1:]))", "dashboards"]
JOINING = "import ray; from chestseg.distributed.cluster import attach\nwith attach(): print(ray.get_runtime_context().gcs_address)"

pytestmark = pytest.mark.ray


@dataclass
class Served:
    """A running `chestseg dashboards` that has printed its block."""

    process: subprocess.Popen[str]
    block: list[str]

    @property
    def urls(self) -> dict[str, str]:
        return dict(line.split() for line in self.block if "http://" in line)

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> tuple[int, str, list[psutil.Process]]:
        """Exit code, what it said, and which of the processes it had started live on."""
        started = self.children
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said, psutil.wait_procs(started, timeout=30)[1]


@contextlib.contextmanager
def served(sweep: Path, env: dict[str, str]) -> Iterator[Served]:
    env = env | {"PYTHONPATH": str(ROOT / "platform"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*COMMAND, str(sweep)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout
        block: list[str] = []
        while not block or "Ctrl-C" not in block[-1]:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            block.append(line.rstrip("\n"))
        yield Served(process, block)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YAML of a sweep that has run."""
    return show(tmp_path_factory.mktemp("dashboards"))[0]


@pytest.fixture(scope="module")
def running(sweep: Path, cluster: Cluster) -> Iterator[Served]:
    with served(sweep, cluster.env) as dashboards:
        yield dashboards


@pytest.mark.slow
def test_all_three_answer_on_loopback_only(running: Served, cluster: Cluster) -> None:
    assert list(running.urls) == ["MLflow", "Optuna", "Ray"]
    assert running.urls["Ray"] == cluster.dashboard_url
    for url in running.urls.values():
        with urllib.request.urlopen(url) as answer:
            assert b"<html" in answer.read().lower()
    listening = [c.laddr.ip for process in running.children for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.slow
def test_mlflow_refuses_another_hosts_name(running: Served) -> None:
    strange = urllib.request.Request(running.urls["MLflow"], headers={"Host": "rebound.example"})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(strange)
    refusal.value.close()
    assert refusal.value.code == 403


@pytest.mark.slow
def test_it_says_where_rays_token_lies_and_not_what_it_is(running: Served) -> None:
    assert f"asks for a token: the content of {TOKEN_FILE}" in "\n".join(running.block)
    assert TOKEN_FILE.read_text() not in "\n".join(running.block)


@pytest.mark.slow
def test_ctrl_c_ends_all(running: Served) -> None:
    assert running.end(signal.SIGINT) == (130, "chestseg: interrupted\n", [])


@pytest.mark.slow
def test_with_no_cluster_there_it_starts_one_that_a_sweep_can_join(sweep: Path, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}
    with served(sweep, env) as dashboards:
        joining = dict(word.split("=") for word in shlex.split(dashboards.block[-2]) if word.startswith("RAY_"))
        program = [sys.executable, "-c", JOINING]
        joined = subprocess.run(program, env=env | joining | {"PYTHONPATH": str(ROOT / "platform")}, capture_output=True, text=True)
        assert joined.stdout.strip() == joining["RAY_ADDRESS"], joined.stderr
        assert dashboards.end(signal.SIGTERM) == (143, "", [])


@pytest.mark.slow
def test_a_server_that_ends_takes_the_others_with_it(sweep: Path, cluster: Cluster) -> None:
    with served(sweep, cluster.env | {"RAY_ADDRESS": cluster.dashboard_url}) as dashboards:
        started = dashboards.children
        optuna = next(process for process in started if "optuna_dashboard._cli" in process.cmdline())
        optuna.kill()
        said = dashboards.process.communicate(timeout=60)[1]
        assert dashboards.process.returncode == 2
        assert said.startswith("chestseg: error: Optuna's server ended (")
        assert not psutil.wait_procs(started, timeout=30)[1]


def test_a_port_that_is_taken_is_named(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["dashboards", str(sweep), "--mlflow-port", str(port)]) == 2
    assert capsys.readouterr().err.startswith(f"chestseg: error: --mlflow-port {port}: another process listens there: give another")


def test_a_sweep_that_was_never_started_has_nothing_to_show(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", str(sweep), "--set", f"storage={tmp_path}"]) == 2
    assert "no sweep was started there: start it with `chestseg tune" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
