"""Costs are found where a worker trains, and not where the driver happens to be."""

from typing import Any

import pytest

from chestseg.config import Training
from chestseg.distributed.measure import in_worker
from tests.distributed.small_ray import SmallRay


def told(*args: Any) -> dict[str, Any]:
    *words, device = args
    return {"words": words, "device": str(device)}


def test_a_head_without_a_gpu_asks_for_a_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SmallRay(monkeypatch, nodes=2, gpus=1)
    assert in_worker(Training(cpus_per_worker=3), told, "a") == {"words": ["a"], "device": "cuda"}
    assert ray.asked == [{"num_cpus": 3, "num_gpus": 1}]


def test_of_one_machine_without_gpus_this_process_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SmallRay(monkeypatch, nodes=1)
    assert in_worker(Training(), told)["device"] == "cpu" and not ray.asked


def test_other_nodes_may_be_faster_or_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SmallRay(monkeypatch, nodes=2)
    assert in_worker(Training(cpus_per_worker=2), told)["device"] == "cpu"
    assert ray.asked == [{"num_cpus": 2, "num_gpus": 0}]
