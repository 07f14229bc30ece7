"""The head is lost with all that runs on it; a new one finds the cluster's state in Redis, and the command goes on where it was."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chestseg.distributed.drill import CHECKPOINT_EVERY, ended, finish
from chestseg.distributed.drill_account import repeated, same_weights, skipped
from chestseg.distributed.simulated import RAY_STATE, free_port
from chestseg.tracking.histories import difference
from tests.distributed.drilled import stage
from tests.servers import STARTS_WITHIN

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis on loopback, and its address; the test is skipped where there is none, but not in CI."""
    if not (program := shutil.which("redis-server")):
        if os.environ.get("CI"):
            pytest.fail("no Redis: .ci/run installs it")
        pytest.skip("no Redis: install Debian's package redis-server")
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        ping = ["redis-cli", "-p", str(port), "ping"]
        while subprocess.run(ping, capture_output=True, check=False).stdout != b"PONG\n":
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_a_new_head_finds_its_nodes_again_and_the_command_goes_on(tmp_path: Path) -> None:
    with redis(tmp_path) as address, stage(tmp_path, (1, 1), (10, 4), env=RAY_STATE | {"RAY_REDIS_ADDRESS": address}) as on:
        run = on.run("disturbed")
        with ended(run):
            run.start()
            run.wait_for_step(12)
            nodes = [node.process.pid for node in on.cluster.nodes]
            on.cluster.lose_head()
            run.kill()
            on.cluster.start_head()
            run.start()
            finish(run)
        assert [node.process.pid for node in on.cluster.nodes] == nodes and all(n.process.poll() is None for n in on.cluster.nodes)
        alone = on.left_alone()
        assert repeated(run.steps()) <= CHECKPOINT_EVERY and not skipped(run.steps(), alone.steps())
        own, other = Path(run.experiment.run_folder), Path(alone.experiment.run_folder)
        assert same_weights(own, other) and not difference(own, other).any
