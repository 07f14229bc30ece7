"""What a started cluster's metrics endpoint says of a run: read there, as Prometheus does."""

import time
import urllib.request

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from chestseg.distributed import gauges
from chestseg.training.reporter import Report
from tests.training.arrays_in_memory import small_experiment

pytestmark = pytest.mark.ray

PASSED_ON_WITHIN = 90.0
"""Seconds; Ray does so every ten, and forgets after twenty."""


@ray.remote(num_cpus=0)
class Run:
    """A worker that reports as a run does."""

    def report(self, name: str, report: Report, ended: bool = False) -> None:
        gauges.show(small_experiment(name=name), report, ended)

    def leave(self, name: str) -> None:
        with gauges.cleared(small_experiment(name=name)):
            pass


def endpoint() -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of everything the first node's endpoint says."""
    [node] = [node for node in ray.nodes() if node["Alive"]]
    with urllib.request.urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def values_of(name: str) -> dict[str, float]:
    """A run's gauges by their names without Ray's prefix and ours."""
    run = gauges.run_of(small_experiment(name=name))
    before = f"ray_{gauges.PREFIX}"
    return {metric.removeprefix(before): value for metric, labels, value in endpoint() if labels.get("run") == run}


@pytest.mark.slow
def test_the_endpoint_says_where_a_run_stands_and_how_fast_it_is_until_it_leaves(cluster):
    midway, ended, left = (Run.remote() for _ in range(3))
    epoch = Report(1, 0, 14, {"loss": 0.5, "images_per_second": 40.0, "data_wait": 0.25, "val_dice": 0.75, "loss_bce": 1.0})
    before = time.time()
    ray.get([midway.report.remote("midway", epoch), ended.report.remote("ended", epoch), left.report.remote("left", epoch)])
    ray.get([left.leave.remote("left"), midway.report.remote("midway", Report(1, None, 15, {}))])
    ray.get(ended.report.remote("ended", Report(1, None, 18, {}), ended=True))
    while values_of("midway").get("step") != 15 or values_of("ended").get("step") != 18:
        assert time.time() < before + PASSED_ON_WITHIN
        time.sleep(0.2)
    values = values_of("midway")
    assert before <= values.pop("reported_timestamp_seconds") <= time.time()
    assert values == {
        "images_per_second": 40.0, "data_wait": 0.25, "loss": 0.5, "val_dice": 0.75, "stage": 2, "epoch": 1, "step": 15, "progress": 0.6,
    }  # fmt: skip
    assert values_of("ended")["progress"] == 1
    while values_of("left"):
        assert time.time() < before + PASSED_ON_WITHIN
        time.sleep(0.2)
    for run in (midway, ended, left):
        ray.kill(run)
