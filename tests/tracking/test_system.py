"""The machine's load is measured until it is told to stop."""

import threading
import time
from collections.abc import Mapping

from chestseg.tracking.system import SystemMetrics


def test_points_arrive_with_mlflows_names() -> None:
    points: list[Mapping[str, float]] = []
    arrived = threading.Event()

    def record(values: Mapping[str, float]) -> None:
        points.append(values)
        arrived.set()

    load = SystemMetrics(record, every=0.03)
    assert arrived.wait(30)
    load.close()
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(points[0])
    taken = len(points)
    time.sleep(0.1)
    assert len(points) == taken
