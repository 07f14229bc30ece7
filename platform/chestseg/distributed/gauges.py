"""What Prometheus sees of a training: gauges in Ray's metrics endpoint, set where a run reports anyway and never in between.

Ray puts `ray_` before each name and its own labels beside ours, passes values on every ten seconds, and drops those of a process that is
gone after twenty. GPU use is Ray's own (`ray_node_gpus_utilization`), sampled on every node.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ray.util.metrics import Gauge

from chestseg.config import Experiment
from chestseg.training.reporter import Report

PREFIX = "chestseg_train_"
GAUGES = {
    "images_per_second": "Images or patches a second over the last epoch, all workers together",
    "data_wait": "Share of the last epoch that the first worker waited for data, 0..1",
    "loss": "Weighted sum of the loss terms, mean of the last epoch",
    "val_dice": "Mean Dice of the held-out fold at the last validation",
    "stage": "Stage of the schedule, from 1",
    "epoch": "Epochs done of the stage",
    "step": "Optimiser steps over all stages",
    "progress": "Epochs done as a share of the schedule's, 0..1; 1 when its last stage has ended, early or not",
    "reported_timestamp_seconds": "Unix time of the last report",
}
"""Names without their prefixes, and meanings; each has the label `run`, the name of the run's folder."""


def show(experiment: Experiment, report: Report, ended: bool) -> None:
    """Set the gauges of a run on the worker that records.

    Args:
        experiment: the run's.
        report: what it said last; gauges it says nothing of stay.
        ended: whether the report is the last of its stage.
    """
    values = {name: value for name, value in report.metrics.items() if name in GAUGES}
    values |= {"stage": report.stage + 1, "step": report.step, "reported_timestamp_seconds": time.time()}
    epochs = [stage.epochs for stage in experiment.stages]
    done = epochs[report.stage] if ended else None if report.epoch is None else report.epoch + 1
    if done is not None:
        values |= {"epoch": done, "progress": (sum(epochs[: report.stage]) + done) / sum(epochs)}
    for name, value in values.items():
        _gauge(name).set(value, tags=tags_of(experiment))


@contextlib.contextmanager
def cleared(experiment: Experiment) -> Iterator[None]:
    """Give up a run's gauges at its end, or what stands for it: its process lives on, and no alert shall wait for this run.

    A gauge that is no number leaves the endpoint.
    """
    try:
        yield
    finally:
        for name in GAUGES:
            _gauge(name).set(math.nan, tags=tags_of(experiment))


@cache
def _gauge(name: str) -> Gauge:
    return Gauge(PREFIX + name, GAUGES[name], tag_keys=("run",))


def tags_of(experiment: Experiment) -> dict[str, str]:
    """Our label of a run."""
    return {"run": Path(experiment.run_folder).name}
