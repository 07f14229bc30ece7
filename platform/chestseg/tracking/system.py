"""Load of the machine a run trains on, measured by MLflow's own collectors.

MLflow's monitor thread gives up at the first request that fails; this one hands its points to the journal, which does not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chestseg.tracking.environment import settle

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

SAMPLES = 3
"""Samples averaged into one point."""


class SystemMetrics:
    """Samples processor, memory, disk, network and GPUs (those need `nvidia-ml-py` or `pyrsmi`) on a thread of its own."""

    def __init__(self, record: Callable[[Mapping[str, float]], None], every: float) -> None:
        """Start sampling: one point by `record` every `every` seconds, keys as MLflow shows them (`system/...`)."""
        self._record, self._every = record, every
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; a point that is not whole is dropped."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        collectors = _collectors()
        while True:
            for _ in range(SAMPLES):
                if self._closing.wait(self._every / SAMPLES):
                    return
                for collector in collectors:
                    collector.collect_metrics()
            self._record({f"system/{key}": value for c in collectors for key, value in (c.aggregate_metrics() or {}).items()})
            for collector in collectors:
                collector.clear_metrics()


def _collectors() -> list[BaseMetricsMonitor]:
    settle()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    collectors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for gpus in (GPUMonitor, ROCMMonitor):
        with contextlib.suppress(ImportError, RuntimeError):  # no such GPU, or no library to ask it
            collectors.append(gpus())
    return collectors
