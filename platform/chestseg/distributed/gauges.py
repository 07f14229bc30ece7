"""What Prometheus sees of a training: gauges in Ray's metrics endpoint, set where a run reports anyway and never in between.

Ray puts `ray_` before each name and its own labels beside ours, passes on every ten seconds what was set since, and drops after twenty what
was not set again, so a thread repeats the last values. GPU use is Ray's own (`ray_node_gpus_utilization`), sampled on every node.
"""

import contextlib
import threading
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
REFRESHED_EVERY = 5.0
"""Seconds."""

_SHOWN: dict[str, dict[str, float]] = {}
"""Last values by run and gauge."""
_LOCK = threading.Lock()


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
    with _LOCK:
        _SHOWN.setdefault(run_of(experiment), {}).update(values)
    _refresher()
    _set_all()


@contextlib.contextmanager
def cleared(experiment: Experiment) -> Iterator[None]:
    """Give up a run's gauges at its end, or what stands for it: its process lives on, and no alert shall wait for this run."""
    try:
        yield
    finally:
        with _LOCK:
            _SHOWN.pop(run_of(experiment), None)


def run_of(experiment: Experiment) -> str:
    """Our label of a run: the name of its folder."""
    return Path(experiment.run_folder).name


@cache
def _refresher() -> threading.Thread:
    """Sets all gauges again and again: Ray passes on only what was set since it last did."""
    thread = threading.Thread(target=_refresh, name="gauges", daemon=True)
    thread.start()
    return thread


def _refresh() -> None:
    while True:
        time.sleep(REFRESHED_EVERY)
        _set_all()


def _set_all() -> None:
    with _LOCK:
        for run, values in _SHOWN.items():
            for name, value in values.items():
                _gauge(name).set(value, tags={"run": run})


@cache
def _gauge(name: str) -> Gauge:
    return Gauge(PREFIX + name, GAUGES[name], tag_keys=("run",))
