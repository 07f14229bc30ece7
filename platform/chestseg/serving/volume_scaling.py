"""How many replicas segment volumes: by the voxels that wait and are worked at, told by any of them.

Ray Serve's controller runs `wanted_replicas`, pickled by value, where chestseg need not be installed: this module imports nothing of it.
"""

import math
from typing import Any

from ray.serve.config import AutoscalingContext

WANTED = "wanted_replicas"


def replicas_for(queued: int, running: int, voxels: int, replica_voxels: int) -> int:
    """Replicas for the jobs there are: one for each `replica_voxels`, none that would find no job, and none less than are at work."""
    return max(running, min(queued + running, math.ceil(voxels / replica_voxels)))


def wanted_replicas(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Serve's autoscaling policy: what a replica reported last; bounds and delays are Serve's. No change until one has reported."""
    reported = [points[-1] for points in (context.raw_metrics or {}).get(WANTED, {}).values() if points]
    if not reported:
        return context.target_num_replicas, {}
    return int(max(reported, key=lambda point: point.timestamp).value), {}
