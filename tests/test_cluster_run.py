"""cluster.yaml run on this machine: Ray's autoscaler adds a node of it for tasks that ask for a GPU, and takes it away when idle."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from chestseg.distributed.simulated_autoscaler import HEAD_ID, HEAD_TYPE, AutoscaledCluster, on_this_machine

LAUNCHER = yaml.safe_load((Path(__file__).parent.parent / "cluster.yaml").read_text())
IDLE_MINUTES = 0.1
"""In place of the file's ten: the only value that the run below has of its own."""
DRIVER = """
import json, time
import ray

ray.init(logging_level="ERROR")

@ray.remote(num_gpus=1)
def place():
    time.sleep(2)
    return ray.get_runtime_context().get_node_id()

def alive():
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}

before = list(alive())
ran = ray.get([place.remote() for _ in range(2)])
nodes = alive()
during = {id: {"resources": nodes[id]["Resources"], "labels": nodes[id]["Labels"]} for id in ran if id in nodes}
deadline = time.monotonic() + 300
while len(alive()) > 1 and time.monotonic() < deadline:
    time.sleep(0.5)
print("TOLD", json.dumps({"before": before, "ran": ran, "during": during, "after": list(alive())}), flush=True)
"""


def test_nothing_but_provider_authentication_and_machine_types_is_replaced() -> None:
    run = on_this_machine(LAUNCHER, "127.0.0.1:1")
    assert {key for key in LAUNCHER if run[key] != LAUNCHER[key]} == {"provider", "auth", "available_node_types", "head_node_type"}
    own, replaced = LAUNCHER["available_node_types"], run["available_node_types"]
    assert replaced.keys() == own.keys() - {LAUNCHER["head_node_type"]} | {HEAD_TYPE}
    for name, kind in own.items():
        other = replaced[HEAD_TYPE if name == LAUNCHER["head_node_type"] else name]
        assert other["node_config"] == {} and other["resources"].items() >= kind["resources"].items()
        assert all(other[key] == kind[key] for key in kind.keys() - {"node_config", "resources"})


def test_ray_accepts_what_is_derived() -> None:
    filled = prepare_config(on_this_machine(LAUNCHER | {"idle_timeout_minutes": IDLE_MINUTES}, "127.0.0.1:1"))
    validate_config(filled)
    assert filled["provider"]["head_node_id"] == HEAD_ID


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_node_comes_for_tasks_that_ask_for_a_gpu_and_goes_when_idle() -> None:
    with AutoscaledCluster(launcher=LAUNCHER | {"idle_timeout_minutes": IDLE_MINUTES}) as cluster:
        driver = [sys.executable, "-c", DRIVER]
        done = subprocess.run(driver, env=cluster.driver_env, capture_output=True, text=True, timeout=1200, check=False)
        monitors = [path.read_text(errors="replace")[-3000:] for path in cluster.folder.glob("r/session_latest/logs/monitor.*")]
    assert done.returncode == 0, "\n".join([done.stderr[-3000:], *monitors])
    [line] = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    told: dict[str, Any] = json.loads(line.removeprefix("TOLD "))
    assert told["before"] == told["after"] == [HEAD_ID], monitors
    assert HEAD_ID not in told["ran"] and told["during"]
    spot = LAUNCHER["available_node_types"]["gpu-spot"]
    for node in told["during"].values():
        assert node["resources"].items() >= spot["resources"].items() and node["labels"].items() >= spot["labels"].items()
