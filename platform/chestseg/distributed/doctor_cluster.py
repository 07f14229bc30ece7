"""What the doctor makes of the cluster as a whole: room for the plan, who may enter, and what is open."""

from collections.abc import Iterator
from typing import Any

from chestseg.config import Sweep
from chestseg.distributed.cluster import may_grow
from chestseg.distributed.doctor import HERE, Sight
from chestseg.distributed.doctor_check import STATES, Check, State, grouped
from chestseg.distributed.doctor_need import Need
from chestseg.distributed.room import Nodes, trials_at_once, uses_gpu, waited_for, worker_resources, workers_held
from chestseg.tuning.plan import plan

RAY_NEEDS_FREE = 0.05
"""Share of the disk below which Ray stores no more objects there."""
REFUSED = (401, 403)
GB = 1e9


def judge_cluster(sight: Sight, need: Need | None) -> Iterator[Check]:
    """All checks of the cluster; those that need a config are left out without one."""
    if need:
        yield _room(sight, need)
        yield from grouped("memory", _memory(sight, need), "lower micro_batch (it splits the batch), or take larger nodes")
        yield _storage_room(sight, need)
    yield from grouped("disk", _disks(sight), "make room in Ray's temporary folder: Ray stores no object on a disk so full")
    yield _authentication(sight)
    yield from _ports(sight)


def _room(sight: Sight, need: Need) -> Check:
    """CPUs and GPUs for all workers, or for as few as will do."""
    training, nodes = need.experiment.training, _nodes(sight)
    has = {key: sum(node.get(key, 0) for node in nodes) for key in ("CPU", "GPU")}
    count, held = training.fewest_workers, workers_held(training, nodes)
    wanted = {key: each * count for key, each in worker_resources(training, nodes).items()}
    told = ", ".join(f"{wanted[key]:g} of {has[key]:g} {key}" for key in wanted)
    workers = f"{'at least ' * (count < training.workers)}{count} worker{'s' * (count > 1)}: {told}"
    if held >= count:
        return Check("room", (), "ok", workers)
    if all(wanted[key] <= has[key] for key in wanted):
        workers += f", but the nodes, each by itself, hold {held}"
    if may_grow():
        return Check("room", (), "note", f"{workers}: the job waits for nodes", "see that the autoscaler may add them")
    return Check("room", (), "finding", workers, "lower training.workers or training.cpus_per_worker, or set training.gpu to no")


def _memory(sight: Sight, need: Need) -> dict[str, tuple[State, str]]:
    """An estimate of what the workers that a node may hold take of its memory and its GPUs."""
    training, nodes = need.experiment.training, _nodes(sight)
    on_gpu, each = uses_gpu(training, nodes), worker_resources(training, nodes)
    main, gpu = need.main_memory(on_gpu), need.gpu_memory
    told: dict[str, tuple[State, str]] = {}
    for name, has in sight.resources.items():
        held = min(training.workers, *(int(has.get(key, 0) // amount) for key, amount in each.items()))
        if name not in sight.nodes or not held:
            continue
        free = sight.nodes[name]["memory"][1]
        least = min((card["free"] for card in sight.gpus.get(name, []) if isinstance(card, dict) and card["free"]), default=None)
        words = f"up to {held} worker{'s' * (held > 1)} of about {main / GB:.1f} GB, {free / GB:.0f} GB free"
        words += f"; about {gpu / GB:.1f} GB of a GPU, {least / GB:.0f} GB free" if on_gpu and least else ""
        lacks = held * main > free or (on_gpu and least is not None and gpu > least)
        told[name] = ("finding" if lacks else "ok"), words
    return told


def _storage_room(sight: Sight, need: Need) -> Check:
    """What a run or a sweep may leave, against what is free where this machine sees it."""
    free = need.free_disk
    if need.sweep:
        return _planned(sight, need, need.sweep, free if free is not None else 1 << 62)
    told = f"{need.storage}: at most about {need.disk / GB:.1f} GB"
    if free is None:
        return Check("plan", (), "ok", f"{told}; a bucket does not say what is free")
    if free < need.disk:
        return Check("plan", (HERE,), "finding", f"{told}, {free / GB:.1f} GB free", "free some space or choose another storage")
    return Check("plan", (HERE,), "ok", f"{told}, {free / GB:.0f} GB free")


def _planned(sight: Sight, need: Need, sweep: Sweep, free: int) -> Check:
    """A sweep's plan, as `tune` makes it."""
    training, nodes, grows = need.experiment.training, _nodes(sight), may_grow()
    try:
        at_once = trials_at_once(sweep, training, nodes, grows)
        lines = plan(sweep, need.experiment, at_once, uses_gpu(training, nodes), free).lines()
    except ValueError as error:
        words, _, remedy = str(error).rpartition(": ")
        return Check("plan", (), "finding", words, remedy)
    words = "; ".join(lines[:1] + lines[2:])
    if lacks := waited_for("trials", training, nodes, at_once):
        return Check("plan", (HERE,), "note", f"{words}; {lacks}: the sweep waits for nodes", "see that the autoscaler may add them")
    return Check("plan", (HERE,), "ok", words)


def _nodes(sight: Sight) -> Nodes:
    return list(sight.resources.values())


def _disks(sight: Sight) -> dict[str, tuple[State, str]]:
    """Of each node, where Ray keeps logs and what does not fit its memory."""
    told: dict[str, tuple[State, str]] = {}
    for name, node in sight.nodes.items():
        if name != HERE:
            total, free = node["disk"]
            state: State = "ok" if free >= RAY_NEEDS_FREE * total else "finding"
            told[name] = state, f"{free / GB:.0f} of {total / GB:.0f} GB free for Ray"
    return told


def _authentication(sight: Sight) -> Check:
    mode = next((node["authentication"] for node in sight.nodes.values() if node["authentication"]), None)
    if mode == "token":
        return Check("token", (), "ok", "the cluster asks for a token")
    remedy = "ray get-auth-token --generate, its file and RAY_AUTH_MODE=token on every node and client, and start the cluster again"
    if mode is None:
        return Check("token", (), "note", "the head's dashboard does not say whether the cluster asks for a token", remedy)
    return Check("token", (), "finding", "the cluster asks for no token: whoever reaches its ports runs code on it", remedy)


def _ports(sight: Sight) -> Iterator[Check]:
    asks = any(node["authentication"] == "token" for node in sight.nodes.values())
    told: dict[str, tuple[State, str]] = {}
    for name, ports in sight.ports.items():
        judged = [_port(port, asks) for port in ports]
        states: list[State] = [state for state, _ in judged] or ["ok"]
        worst = min(states, key=STATES.index)
        words = ", ".join(sorted({words for state, words in judged if state == worst and words}))
        told[name] = worst, words or "nothing beyond loopback that asks for no token"
    yield from grouped("ports", told, "bind to 127.0.0.1 or ask for a token or password; else a firewall must keep others out")


def _port(port: dict[str, Any], asks: bool) -> tuple[State, str]:
    """What a listener beyond loopback is worth: Ray's gRPC ports ask for the token where the cluster does."""
    words = f"{port['program']} on {port['address']}:{port['port']}"
    match port["program"], port["answers"]:
        case _, code if code in REFUSED:
            return "ok", ""
        case "Ray", _:
            return ("ok", "") if asks else ("finding", words)
        case "Ray's metrics", 200:
            return "note", f"{words} (figures only)"
        case "Ray's metrics", _:
            return ("ok", "") if asks else ("finding", words)
        case _, 200:
            return "finding", f"{words} answers without a token"
    return "note", f"{words} may answer without a token"
