"""Replicas follow the voxels that wait."""

import subprocess
import sys
from typing import Any, NamedTuple

import pytest
from ray.serve.config import AutoscalingPolicy

from chestseg.serving.volume_scaling import WANTED, replicas_for, wanted_replicas


class Point(NamedTuple):
    timestamp: float
    value: float


class Context:
    """What Serve's controller hands a policy, as far as it is read."""

    def __init__(self, raw_metrics: Any) -> None:
        self.raw_metrics, self.target_num_replicas = raw_metrics, 3


@pytest.mark.parametrize(
    ("queued", "running", "voxels", "wanted"),
    [(0, 0, 0, 0), (1, 0, 10, 1), (5, 0, 500, 5), (5, 0, 250, 3), (0, 2, 10, 2), (1, 0, 1000, 1), (3, 1, 101, 2), (2, 4, 100, 4)],
)
def test_replicas_for_jobs(queued: int, running: int, voxels: int, wanted: int) -> None:
    assert replicas_for(queued, running, voxels, 100) == wanted


def test_the_newest_report_counts() -> None:
    reports = {WANTED: {"a": [Point(1, 9), Point(5, 2)], "b": [Point(4, 7)], "c": []}}
    assert wanted_replicas(Context(reports)) == (2, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("reports", [None, {}, {"running_requests": {"a": [Point(1, 9)]}}, {WANTED: {"a": []}}])
def test_nothing_changes_before_the_first_report(reports: Any) -> None:
    assert wanted_replicas(Context(reports)) == (3, {})  # type: ignore[arg-type]


def test_the_controller_needs_no_chestseg_for_it() -> None:
    pickled = AutoscalingPolicy(policy_function="chestseg.serving.volume_scaling:wanted_replicas").get_serialized_policy_def()
    assert pickled
    program = f"import sys; sys.modules['chestseg'] = None; import cloudpickle; print(cloudpickle.loads({pickled!r}).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["wanted_replicas"], done.stderr
