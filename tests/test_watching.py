"""The Grafana dashboard and the alert rules: their keys, Prometheus' own check of every expression, and names that a cluster really has."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import ray
import yaml

from chestseg.distributed import gauges
from chestseg.serving.metrics import Metrics
from chestseg.training.reporter import Report
from tests.conftest import RAY_FOLDER
from tests.deployed import ALERTS, LOOKS_SECRET, ROOT
from tests.prometheus import program, scraping
from tests.training.arrays_in_memory import small_experiment

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "chestseg.json").read_text())
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$run": ".*", "$app": ".*", "$__rate_interval": "5m"}
OF_GPUS = {"ray_node_gpus_utilization", "ray_node_gram_used"}
OF_SERVE = {"ray_serve_deployment_replica_starts_total"}
"""What Ray itself gives: of nodes with a GPU; of a cluster that serves."""
WAITS, FORGOTTEN_AFTER = 400.0, 30.0
"""Seconds."""


def expressions() -> list[str]:
    """Of all panels with their variables filled in, and of all rules."""
    told = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in RULES]
    for name, value in VARIABLES.items():
        told = [expression.replace(name, value) for expression in told]
    return told


def names() -> set[str]:
    """Of all metrics that are asked for."""
    return set(re.findall(r"\bray_\w+", " ".join(expressions())))


def test_the_dashboard_has_what_grafana_needs_and_panels_that_explain_themselves():
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time", "refresh"} <= DASHBOARD.keys()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == ["Training", "Serving", "Nodes"]
    for panel in PANELS:
        assert panel["title"] and panel["description"] and panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "run", "app"}
    assert not LOOKS_SECRET.search(json.dumps(DASHBOARD))


def test_panels_do_not_overlap():
    cells = [(x, y) for panel in DASHBOARD["panels"] for x, y in area(**panel["gridPos"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


def area(h: int, w: int, x: int, y: int) -> list[tuple[int, int]]:
    return [(column, line) for column in range(x, x + w) for line in range(y, y + h)]


def test_every_gauge_of_a_training_is_shown():
    assert {f"ray_{gauges.PREFIX}{name}" for name in gauges.GAUGES} <= names()


def test_every_rule_says_what_it_is_and_what_to_do():
    assert {"TrainingStalled", "ReplicasFailing", "DiskNearlyFull"} <= {rule["alert"] for rule in RULES}
    for rule in RULES:
        assert rule["for"] and rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "remedy"}


def test_prometheus_understands_every_expression(tmp_path: Path):
    recorded = [{"record": f"panel:{place}", "expr": expression} for place, expression in enumerate(expressions())]
    panels = tmp_path / "panels.yaml"
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    for rules in (ALERTS, panels):
        done = subprocess.run([program("promtool"), "check", "rules", rules], capture_output=True, text=True)
        assert not done.returncode, done.stderr
    panels.write_text(panels.read_text().replace("rate(", "rat(", 1))
    assert subprocess.run([program("promtool"), "check", "rules", panels], capture_output=True).returncode


def shown(title: str) -> list[str]:
    """The expressions of a panel, for every app."""
    [panel] = [panel for panel in PANELS if panel["title"] == title]
    return [target["expr"].replace("$app", ".*") for target in panel["targets"]]


def test_queue_and_positives_are_the_right_numbers(tmp_path: Path):
    """Two replicas of each app over an hour; the front also answers pages and polls, which are no images."""
    series = {
        'ray_chestseg_queue{app="cxr", replica="a"}': "2x60",
        'ray_chestseg_queue{app="cxr", replica="b"}': "3x60",
        'ray_chestseg_jobs{app="ct", state="queued", replica="c"}': "7x60",
        'ray_chestseg_jobs{app="ct", state="queued", replica="d"}': "7x60",
        'ray_chestseg_jobs{app="ct", state="running", replica="c"}': "2x60",
        'ray_chestseg_jobs{app="ct", state="running", replica="d"}': "2x60",
        'ray_chestseg_requests_total{app="cxr", route="/", code="200", replica="f"}': "0+50x60",
        'ray_chestseg_answers_total{app="cxr", version="3", replica="a"}': "0+6x60",
        'ray_chestseg_answers_total{app="cxr", version="3", replica="b"}': "0+2x60",
        'ray_chestseg_positives_total{app="cxr", version="3", replica="a"}': "0+2x60",
        'ray_chestseg_answers_total{app="ct", version="1", replica="c"}': "0+1x60",
    }
    queue, jobs = shown("Queue")
    [positives] = shown("Positives")
    wanted = {
        queue: {'{app="cxr"}': 5},
        jobs: {'{app="ct", state="queued"}': 7, '{app="ct", state="running"}': 2},
        f"round({positives}, 0.001)": {'{app="cxr", version="3"}': 0.25, '{app="ct", version="1"}': 0},
    }
    asked = [
        {"expr": expr, "eval_time": "60m", "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()]}
        for expr, samples in wanted.items()
    ]
    test = {"interval": "1m", "input_series": [{"series": one, "values": v} for one, v in series.items()], "promql_expr_test": asked}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([program("promtool"), "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr


@ray.remote(num_cpus=0)
class Everything:
    """Sets each of our metrics once, as a run and an app do."""

    def train(self) -> None:
        report = Report(0, 0, 5, {"loss": 0.5, "images_per_second": 40.0, "data_wait": 0.25, "val_dice": 0.75})
        gauges.show(small_experiment(name="scraped"), report, ended=False)

    def serve(self) -> None:
        metrics = Metrics("scraped")
        metrics.request("/predict", 200)
        metrics.step("model", 0.1)
        metrics.batch(2)
        metrics.queue(1)
        metrics.version("champion", "3")
        metrics.jobs(2, 1)
        metrics.answer("3", True)
        metrics.disagreement()
        metrics.skipped("size")


@pytest.mark.ray
@pytest.mark.slow
def test_a_live_prometheus_has_every_name_and_no_alert_for_a_run_that_is_well(cluster, tmp_path: Path):
    alive = Everything.remote()
    ray.get([alive.train.remote(), alive.serve.remote()])
    run = gauges.run_of(small_experiment(name="scraped"))
    with scraping(RAY_FOLDER / "r" / "prom_metrics_service_discovery.json", ALERTS, tmp_path) as prometheus:
        wanted, deadline = names() - OF_GPUS - OF_SERVE, time.monotonic() + WAITS
        while missing := wanted - prometheus.names():
            assert time.monotonic() < deadline, missing
            time.sleep(0.5)
        # Names may be there from the runs of other tests, before this one's were scraped.
        while not (progress := prometheus.value(f'max by (run) (ray_chestseg_train_progress{{run="{run}"}})')):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert progress[0]["metric"] == {"run": run} and float(progress[0]["value"][1]) == 0.2
        # Ray forgets after twenty seconds what nobody set again.
        fresh = f'timestamp(ray_chestseg_train_step{{run="{run}"}}) - ray_chestseg_train_reported_timestamp_seconds > {FORGOTTEN_AFTER}'
        while not prometheus.value(fresh):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        stalled = next(rule["expr"] for rule in RULES if rule["alert"] == "TrainingStalled")
        assert not [found for found in prometheus.value(stalled) if found["metric"]["run"] == run]
        impatient = [found["metric"] for found in prometheus.value(stalled.replace("1800", "0"))]
        assert {"run": run} in impatient
    ray.kill(alive)
