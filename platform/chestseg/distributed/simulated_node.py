"""One node of a simulated cluster, as a program: `python -m chestseg.distributed.simulated_node OPTIONS`, a JSON object of `RayParams`.

`ray start` refuses a second node where Ray keeps to loopback; what it would start does not. The head, whose options name a port and no
address, goes without dashboard and autoscaler: they are most of what a head has to start.
"""

import json
import signal
import sys
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams

UP = "the node is up"


def run(options: dict[str, Any]) -> None:
    """Start the node and stay until this process is ended."""
    head = "gcs_address" not in options
    # Any port will do for the rest, and one log monitor, the head's, is enough for a machine.
    options |= dict.fromkeys(("min_worker_port", "max_worker_port", "node_manager_port"), 0)
    options |= {"dashboard_agent_listen_port": None, "include_dashboard": False, "no_monitor": True, "include_log_monitor": head}
    Node(RayParams(**options), head=head, shutdown_at_exit=True, spawn_reaper=False)
    print(UP, flush=True)
    signal.pause()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
