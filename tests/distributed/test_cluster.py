"""Joining and starting Ray: what is joined stays up, what is started is private and gone afterwards."""

import os
import subprocess
import sys

import pytest
import ray

from chestseg.distributed.cluster import attach

pytestmark = pytest.mark.ray

PRIVATE = """
import psutil, ray
from chestseg.distributed.cluster import attach

with attach(num_cpus=1):
    import chestseg
    assert ray.get(ray.remote(lambda: __import__("chestseg").__file__).remote()) == chestseg.__file__
    print("cpus", ray.cluster_resources()["CPU"])
    started = psutil.Process().children(recursive=True)
    open_to = {c.laddr.ip for process in started for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    print("listens on", *sorted(open_to))
print("connected", ray.is_initialized())
_, alive = psutil.wait_procs(started, timeout=30)
print("left over", alive)
"""

JOINING = """
import ray
from chestseg.distributed.cluster import attach

with attach(num_cpus=1):
    print("joined", ray.get_runtime_context().gcs_address, "cpus", ray.cluster_resources()["CPU"])
"""


def output_of(program: str, env: dict[str, str]) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_private_cluster_keeps_to_loopback_behind_a_token_and_leaves_nothing_behind(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}
    lines = output_of(PRIVATE, env)
    assert (tmp_path / ".ray" / "auth_token").read_text()
    assert lines[0] == "cpus 1.0"
    assert set(lines[1].removeprefix("listens on ").split()) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert lines[2:] == ["connected False", "left over []"]


def test_ray_address_is_joined_and_left_running(cluster):
    assert output_of(JOINING, cluster.env) == [f"joined {cluster.address} cpus 4.0"]
    assert ray.get(ray.remote(lambda: 1).remote()) == 1


def test_a_process_that_is_connected_stays_so(cluster):
    with attach():
        assert ray.get_runtime_context().gcs_address == cluster.address
    assert ray.is_initialized()


def test_a_mistake_found_on_a_worker_is_told_as_it_was_found(cluster):
    with pytest.raises(ValueError, match=r"\Abroken\.dcm: truncated\Z"), attach():
        ray.get(refuse.remote())


@ray.remote
def refuse() -> None:
    raise ValueError("broken.dcm: truncated")


def test_a_dashboards_address_cannot_be_joined():
    program = (
        "from chestseg.distributed.cluster import attach\ntry:\n    attach().__enter__()\nexcept ValueError as error:\n    print(error)"
    )
    [line] = output_of(program, os.environ | {"RAY_ADDRESS": "http://127.0.0.1:8265"})
    assert line.startswith("RAY_ADDRESS http://127.0.0.1:8265 is a dashboard: submit the job")
