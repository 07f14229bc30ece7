"""Room on a cluster: how many workers its nodes hold, each whole on one of them, and whether more nodes are waited for."""

import sys
from collections.abc import Mapping, Sequence

import ray

from chestseg.config import Sweep, Training
from chestseg.distributed.cluster import may_grow

Nodes = Sequence[Mapping[str, float]]
"""What Ray counts on each node that is up."""
REMEDY = "lower training.workers (or min_workers) or training.cpus_per_worker, or set training.gpu to no"


def nodes_up() -> Nodes:
    """Of the attached cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def uses_gpu(training: Training, nodes: Nodes | None = None) -> bool:
    """Whether workers get a GPU each: as configured, or where `nodes` (the attached cluster's when None) have enough for the fewest."""
    if training.gpu == "auto":
        return _total("GPU", nodes_up() if nodes is None else nodes) >= training.fewest_workers
    return training.gpu == "yes"


def worker_resources(training: Training, nodes: Nodes | None = None) -> dict[str, float]:
    """What one worker takes of a node; `nodes` as of `uses_gpu`."""
    resources = {"CPU": float(training.cpus_per_worker)}
    return resources | {"GPU": 1.0} if uses_gpu(training, nodes) else resources


def workers_held(training: Training, nodes: Nodes) -> int:
    """How many workers nodes hold: none is spread over two."""
    each = worker_resources(training, nodes)
    return sum(int(min(node.get(name, 0.0) // amount for name, amount in each.items())) for node in nodes)


def trainings_held(training: Training, nodes: Nodes) -> int:
    """How many trainings nodes hold side by side with all their workers; 1 too where one has room for its fewest."""
    held = workers_held(training, nodes)
    return max(held // training.workers, int(held >= training.fewest_workers))


def lack(what: str, training: Training, nodes: Nodes) -> str | None:
    """What a training, called `what`, lacks on nodes, in words; None where they hold it."""
    if trainings_held(training, nodes):
        return None
    return f"{what} needs {_needs(training, nodes, training.fewest_workers)}, the cluster has {_has(training, nodes)}"


def require_room(what: str, training: Training) -> None:
    """Refuse a training that a private cluster can never hold; of one that may grow, say what is waited for.

    Args:
        what: the training, as it is called in the line.
        training: how it is executed.

    Raises:
        ValueError: names the resources and the remedy.
    """
    if lacks := lack(what, training, nodes_up()):
        if not may_grow():
            raise ValueError(f"{lacks}: {REMEDY}")
        say_waiting(lacks)


def trials_at_once(sweep: Sweep, training: Training, nodes: Nodes, grows: bool) -> int:
    """How many trials of a sweep run side by side: as many as it says, else as many as nodes hold.

    A cluster that grows is asked for as many as the sweep says, whatever it holds now; where the sweep says nothing, for what it holds
    now and at least one trial, so that nobody pays for nodes that he did not ask for.

    Args:
        sweep: what it says.
        training: its base's.
        nodes: those that are up.
        grows: whether more may come.

    Raises:
        ValueError: nodes hold no trial, or fewer than the sweep says, and no more will come.
    """
    room = trainings_held(training, nodes)
    if not grows and (lacks := lack("a trial", training, nodes)):
        raise ValueError(f"{lacks}: {REMEDY} (in the sweep's `set`)")
    if not grows and (sweep.at_once or 1) > room:
        needs = f"each trial needs {_needs(training, nodes, training.workers)}, but the cluster has {_has(training, nodes)}"
        raise ValueError(f"at_once is {sweep.at_once} and {needs}: lower at_once to {room}")
    return min(sweep.at_once or max(room, 1), sweep.trials)


def waited_for(what: str, training: Training, nodes: Nodes, count: int) -> str | None:
    """Why `count` trainings side by side, called `what`, wait for nodes, in words; None where there is room."""
    room = trainings_held(training, nodes)
    if room >= count:
        return None
    needs = f"{count} {what} side by side need {_needs(training, nodes, training.workers)} each"
    return f"{needs}, the cluster has {_has(training, nodes)} and room for {room}"


def say_waiting(lacks: str) -> None:
    """A line on stderr: what is lacking, and that nodes are waited for."""
    print(f"chestseg: note: {lacks}: waiting for nodes", file=sys.stderr, flush=True)


def _needs(training: Training, nodes: Nodes, workers: int) -> str:
    return f"{workers} x {training.cpus_per_worker} CPU" + (f" and {workers} GPU" if uses_gpu(training, nodes) else "")


def _has(training: Training, nodes: Nodes) -> str:
    """All that nodes have together, and of several how many workers that is: the sum may hide that none fits."""
    total = " and ".join(f"{_total(name, nodes):g} {name}" for name in worker_resources(training, nodes))
    return total if len(nodes) < 2 else f"{total} on {len(nodes)} nodes, which hold {workers_held(training, nodes)} such workers"


def _total(name: str, nodes: Nodes) -> float:
    return sum(node.get(name, 0.0) for node in nodes)
