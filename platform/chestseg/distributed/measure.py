"""The plan of a sweep on the attached cluster, and what trainings cost, found where they will run: in a task with a worker's resources."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import ray
import torch

from chestseg.config import Experiment, Sweep, Training, experiment_from
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.cluster import may_grow
from chestseg.distributed.room import nodes_up, say_waiting, trials_at_once, uses_gpu, waited_for, worker_resources, workers_held
from chestseg.distributed.train import for_other_nodes
from chestseg.tuning.compute import Costs
from chestseg.tuning.costing import costs_of, flops_per_second, measure_costs
from chestseg.tuning.plan import Plan, plan
from chestseg.tuning.records import SweepJournal


def plan_sweep(sweep: Sweep, dataset: PreparedDataset, journal: SweepJournal) -> tuple[Costs, Plan]:
    """What trials cost, measured at the first start and kept, and what the sweep takes of the attached cluster.

    Raises:
        ValueError: the budget, the cluster or the disk don't allow it; a cluster that can't, and won't grow, is refused before anything
            is measured.
    """
    base, nodes = sweep.experiment, nodes_up()
    at_once = trials_at_once(sweep, base.training, nodes, may_grow())
    has = at_once, uses_gpu(base.training, nodes), shutil.disk_usage(sweep.folder).free
    plan(sweep, base, *has)
    if lacks := waited_for("trials", base.training, nodes, at_once):
        say_waiting(lacks)
    measured = journal.measured("costs", lambda: measure(sweep, base, dataset))
    return Costs.model_validate(measured["costs"]), plan(sweep, base, *has, measured["speed"])


def measure(sweep: Sweep, base: Experiment, dataset: PreparedDataset) -> dict[str, Any]:
    """`costs` (as JSON) and `speed`, the compute of one worker in a second, in the budget's unit; found as `in_worker` says.

    Raises:
        ValueError: a stage, an encoder or cases that can't be, or a budget that some trial could not keep to.
    """
    return in_worker(base.training, _measure, sweep, base, dataset)


def measure_schedule(experiment: Experiment) -> Costs:
    """Seconds that the stages of one experiment take a worker, found as `in_worker` says.

    Raises:
        ValueError: a stage or cases that can't be.
    """
    return Costs.model_validate(in_worker(experiment.training, _measure_schedule, for_other_nodes(experiment)))


def in_worker(training: Training, work: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """What `work(*args, device)` answers where a worker would train: in a task with a worker's resources, whatever the driver's node has.

    On a single machine without GPUs, which holds a worker, this process is as good as any and has PyTorch loaded already.
    """
    nodes = nodes_up()
    gpu = uses_gpu(training, nodes)
    device = torch.device("cuda" if gpu else "cpu")
    if not gpu and len(nodes) == 1 and workers_held(training, nodes):
        return work(*args, device)
    resources = worker_resources(training, nodes)
    task: Any = ray.remote(work).options(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0))
    return ray.get(task.remote(*args, device))


def _measure(sweep: Sweep, base: Experiment, dataset: PreparedDataset, device: torch.device) -> dict[str, Any]:
    threads = _threads(base.training)
    costs = costs_of(sweep, base, dataset, threads, device)
    speed = flops_per_second(base, dataset, threads, device) if costs.unit == "flops" else 1.0
    return {"costs": costs.model_dump(mode="json"), "speed": speed}


def _measure_schedule(told: str, device: torch.device) -> dict[str, Any]:
    experiment = experiment_from(json.loads(told))
    dataset = PreparedDataset.open(experiment.data.prepared)
    return measure_costs(experiment, dataset, _threads(experiment.training), device).model_dump(mode="json")


def _threads(training: Training) -> int:
    return training.threads or training.cpus_per_worker
