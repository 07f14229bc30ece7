"""A cluster of three nodes on this machine for the doctor to look at, as a program: one node is whole, one has other code, one is lost.

Prints what the doctor says as JSON, one object a line: of all nodes; of a node that hangs; after the head says it is of another Ray.
"""

import json
import os
import signal
import sys

import ray
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray.cluster_utils import Cluster
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from chestseg.cli import main
from chestseg.distributed import doctor_node
from chestseg.distributed.doctor import Nodes


def raylet(node: object) -> int:
    """Its process id."""
    return node.all_processes["raylet"][0].process.pid


def show_a_node_that_hangs(node: object) -> None:
    os.kill(raylet(node), signal.SIGSTOP)
    nodes = Nodes(timeout=2.0)
    answers = nodes.ask(doctor_node.tick)
    print(json.dumps({"answers": list(answers), "silent": nodes.silent}), flush=True)
    os.kill(raylet(node), signal.SIGCONT)


def pretend_another_ray() -> None:
    metadata = json.loads(_internal_kv_get(CLUSTER_METADATA_KEY, namespace=KV_NAMESPACE_CLUSTER))
    told = json.dumps(metadata | {"ray_version": "2.0.0"}).encode()
    _internal_kv_put(CLUSTER_METADATA_KEY, told, overwrite=True, namespace=KV_NAMESPACE_CLUSTER)
    ray.shutdown()


def run(config: str, other_code: str, dashboard_port: str) -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": int(dashboard_port)},
    )
    try:
        cluster.add_node(num_cpus=1, num_gpus=1, env_vars={"PYTHONPATH": other_code})
        doomed = cluster.add_node(num_cpus=1)
        cluster.remove_node(doomed, allow_graceful=False)
        os.environ["RAY_ADDRESS"] = cluster.address
        # Connected beforehand, as a submitted job is: nodes then find the code where they look themselves.
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        print(main(["doctor", config, "--json"]), flush=True)
        show_a_node_that_hangs(cluster.worker_nodes.copy().pop())
        pretend_another_ray()
        print(main(["doctor", "--json"]), flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    run(*sys.argv[1:])
