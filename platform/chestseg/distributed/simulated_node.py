"""One node of a simulated cluster, as a program: `python -m chestseg.distributed.simulated_node OPTIONS`, a JSON object of `RayParams`.

`ray start` refuses a second node where Ray keeps to loopback; what it would start does not. The head, whose options name a port and no
address, goes without dashboard and autoscaler: they are most of what a head has to start.
"""

import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.services import get_node

UP = "the node is up"
TOO_LATE = "timed out during startup"
"""Ray's words after thirty seconds, which on a busy machine do not do."""


def run(options: dict[str, Any]) -> None:
    """Start the node and stay until this process is ended."""
    head = "gcs_address" not in options
    # Any port will do for the rest, and one log monitor, the head's, is enough for a machine.
    options |= dict.fromkeys(("min_worker_port", "max_worker_port", "node_manager_port"), 0)
    options |= {"dashboard_agent_listen_port": None, "include_dashboard": False, "no_monitor": True, "include_log_monitor": head}
    try:
        Node(RayParams(**options), head=head, shutdown_at_exit=True, spawn_reaper=False)
    except Exception as error:  # Ray raises nothing more particular
        if head or TOO_LATE not in str(error):
            raise
        _wait_until_joined(options["gcs_address"])  # what was started goes on starting
    print(UP, flush=True)
    signal.pause()


def _wait_until_joined(address: str) -> None:
    """However long that takes; who started this process gives up on it."""
    while True:
        with contextlib.suppress(RuntimeError):
            get_node(address, os.environ["RAY_OVERRIDE_NODE_ID_FOR_TESTING"])
            return
        time.sleep(0.5)


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
