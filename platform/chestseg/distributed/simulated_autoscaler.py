"""A head on this machine with Ray's autoscaler, whose nodes are processes here: a launcher's file run without a cloud.

Ray's own class for it dies on a file that its wheel lacks; its fake provider, named as an external one, does not.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chestseg.distributed.simulated import OBJECT_STORE, RAY, STARTS_WITHIN, Node, SimulatedCluster, free_port

HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
HEAD_TYPE = "ray.head.default"
"""What the provider calls the head and its machine type, whatever the file says."""
PROVIDER = {"type": "external", "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"} | dict.fromkeys(
    ("launch_multiple", "use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check", "foreground_node_launch"), True
)
LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands", "head_start_ray_commands",
         "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")  # fmt: skip
FILLED: dict[str, Any] = {key: [] for key in LISTS} | {"docker": {}, "file_mounts": {}, "head_node": {}, "worker_nodes": {}}
FILLED |= {"upscaling_speed": 1.0, "file_mounts_sync_continuously": False}
"""What Ray's launcher fills in before the head reads the file."""
UP = "--block"
"""Of the last words of `ray start --head --block`."""


def on_this_machine(launcher: Mapping[str, Any], address: str) -> dict[str, Any]:
    """A launcher's file for nodes that are processes here: provider, authentication and machine types are replaced, nothing else.

    A machine type keeps its resources, labels, priority and limits; it has no `node_config`, a small object store, and the head's is called
    as the provider calls it. The file's commands stay in it, and no node runs them.

    Args:
        launcher: a file like `cluster.yaml`.
        address: host and port of the head.
    """
    types = {name: {**kind, "node_config": {}} for name, kind in launcher["available_node_types"].items()}
    head = types.pop(launcher["head_node_type"])
    for kind in types.values():
        kind["resources"] = {**kind["resources"], "object_store_memory": OBJECT_STORE}
    replaced = {"provider": {**PROVIDER, "gcs_address": address, "head_node_id": HEAD_ID}, "auth": {}, "head_node_type": HEAD_TYPE}
    return {**FILLED, **launcher, **replaced, "available_node_types": {HEAD_TYPE: {**head, "max_workers": 0}, **types}}


@dataclass
class AutoscaledCluster(SimulatedCluster):
    """A head with the CPUs that its machine type has, and nodes that its autoscaler adds when they are asked for and takes away when idle.

    It may run beside another head: the ports that are the same for every head, those of metrics, are others.
    """

    launcher: Mapping[str, Any] = field(default_factory=dict)

    def start_head(self) -> None:
        """Start it, and return when nodes can join."""
        (self.folder / "r").mkdir(exist_ok=True)
        file, log = self.folder / "autoscaler.yaml", self.folder / "head.log"
        file.write_text(json.dumps(on_this_machine(self.launcher, self.address)))
        cpus = self.launcher["available_node_types"][self.launcher["head_node_type"]]["resources"]["CPU"]
        command = [
            *RAY,
            "start",
            "--head",
            "--block",
            f"--num-cpus={cpus}",
            "--num-gpus=0",
            f"--port={self.port}",
            f"--temp-dir={self.folder}/r",
        ]
        command += [f"--object-store-memory={OBJECT_STORE}", f"--autoscaling-config={file}", "--include-dashboard=False"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=self.env | self._own(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.head = Node(HEAD_ID, process)
        deadline = time.monotonic() + STARTS_WITHIN
        while UP not in (said := log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the head did not come up:\n{said[-3000:]}")
            time.sleep(0.05)

    def _own(self) -> dict[str, str]:
        """Environment of the head, and of the nodes that its autoscaler starts."""
        named = {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID, "RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_FAKE_CLUSTER": "1"}
        ports = {"AUTOSCALER_METRIC_PORT": str(free_port()), "DASHBOARD_METRIC_PORT": str(free_port())}
        # Else a machine of sixteen CPUs would start sixteen processes for its first driver.
        few = {"RAY_prestart_worker_first_driver": "0"}
        return named | ports | few | {"RAY_enable_autoscaler_v2": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
