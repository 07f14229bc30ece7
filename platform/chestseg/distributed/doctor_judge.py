"""What the doctor makes of what it saw of nodes: each answers, runs the same code, has the time, the files and the GPUs it should."""

from collections.abc import Iterator
from typing import Any

from chestseg.distributed.doctor import HERE, Sight
from chestseg.distributed.doctor_check import Check, State, grouped
from chestseg.distributed.doctor_need import Need

VERSIONS = ("python", "ray", "torch", "chestseg", "code")
CLOCKS_MAY_DIFFER = 1.0
"""Seconds."""
GPU_FREE = 0.9
"""Of its memory, where no other process is on it."""
HEX = 64
"""Digits of a SHA-256."""


def judge_nodes(sight: Sight, need: Need | None) -> Iterator[Check]:
    """All checks of single nodes; those that need a config are left out without one."""
    yield from _answers(sight)
    imports = {name: _imported(node) for name, node in sight.nodes.items()}
    yield from grouped("import", imports, "install constraints.txt and this package there, or submit the job with its runtime environment")
    yield from grouped("versions", _versions(sight), "start all nodes from one image, or install constraints.txt on each")
    yield from grouped("clock", {name: _clock(*offset) for name, offset in sight.clocks.items()}, "let NTP (chrony) set the clock there")
    if need:
        yield from _files(sight, need)
        yield from _mlflow(sight, need)
    yield from _gpus(sight)


def _answers(sight: Sight) -> Iterator[Check]:
    told: dict[str, tuple[State, str]] = {name: ("ok", "answers") for name in sight.nodes if name != HERE}
    told |= {name: ("finding", reason) for name, reason in sight.silent.items()}
    yield from grouped("node", told, "see its load and its logs below Ray's folder; take it out of the cluster, or start it again")
    lost: dict[str, tuple[State, str]] = dict.fromkeys(sight.died, ("finding", "was lost"))
    yield from grouped("node", lost, "start it again, or know why it went; a restarted head forgets it")


def _imported(node: dict[str, Any]) -> tuple[State, str]:
    return ("finding", node["trouble"]) if "trouble" in node else ("ok", "chestseg and all that training imports")


def _versions(sight: Sight) -> dict[str, tuple[State, str]]:
    """Each node's versions, or how they differ from this machine's; what could not be imported has none."""
    here = sight.nodes[HERE]
    told: dict[str, tuple[State, str]] = {}
    for name, node in sight.nodes.items():
        differ = [key for key in VERSIONS if node.get(key) and here.get(key) and node[key] != here[key]]
        if differ:
            told[name] = ("finding", ", ".join(f"{key} {node[key]}, here {here[key]}" for key in differ))
        else:
            told[name] = ("ok", ", ".join(f"{key} {node[key]}" for key in VERSIONS if node.get(key)))
    return told


def _clock(ahead: float, error: float) -> tuple[State, str]:
    if abs(ahead) - error <= CLOCKS_MAY_DIFFER:
        return "ok", f"within {CLOCKS_MAY_DIFFER:g} s of this machine's"
    return "finding", f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's (known to {error:.3f} s)"


def _files(sight: Sight, need: Need) -> Iterator[Check]:
    told: dict[str, tuple[State, str]] = {}
    for name in sight.nodes:
        unread = sight.unread.get(name, {})
        if name in sight.unwritten:
            told[name] = "finding", f"{need.storage}: can't be written: {sight.unwritten[name]}"
        elif unread:
            owner, reason = next(iter(unread.items()))
            told[name] = "finding", f"{need.storage}: can't read what {owner} wrote: {reason}"
        else:
            told[name] = "ok", f"{need.storage}: writes, and reads what all others wrote"
    yield from grouped("storage", told, "name a folder that all nodes share, or a bucket that each has the rights to")
    yield from grouped("data", _prepared(sight, need), "run chestseg prepare, into a folder that all nodes share or a bucket")


def _prepared(sight: Sight, need: Need) -> dict[str, tuple[State, str]]:
    here = sight.nodes[HERE]["manifest"]
    if len(here) != HEX:
        return {HERE: ("finding", f"{need.marker}: {here}")}
    told: dict[str, tuple[State, str]] = {}
    for name, node in sight.nodes.items():
        there = node["manifest"]
        if there == here:
            told[name] = "ok", f"{need.experiment.data.prepared}: prepared"
        else:
            told[name] = "finding", f"{need.marker}: {'another than here' if len(there) == HEX else there}"
    return told


def _mlflow(sight: Sight, need: Need) -> Iterator[Check]:
    uri = need.experiment.tracking.uri
    if sight.mlflow:
        words, _, remedy = sight.mlflow.rpartition(": ")
        yield Check("mlflow", (HERE,), "finding", words, remedy)
    elif need.database and len(sight.resources) > 1:
        remedy = "start an MLflow server and give its http://HOST:PORT as tracking.uri"
        yield Check(
            "mlflow", (), "finding", f"{uri} is a file of this machine, and a run may be on any of {len(sight.resources)} nodes", remedy
        )
    else:
        yield Check("mlflow", (HERE,), "ok", f"{uri}{': will be made' if need.database and not need.database.exists() else ' answers'}")
    if need.server:
        told: dict[str, tuple[State, str]] = {}
        for name, node in sight.nodes.items():
            if name != HERE:
                told[name] = ("finding", f"{uri}: {node['server']}") if node["server"] else ("ok", f"{uri} answers")
        yield from grouped("mlflow", told, "let nodes reach the server: its address, its --host, MLFLOW_SERVER_ALLOWED_HOSTS, firewalls")


def _gpus(sight: Sight) -> Iterator[Check]:
    for name, gpus in sight.gpus.items():
        ray_counts = int(sight.resources[name].get("GPU", 0))
        ill = [*_seen(gpus, ray_counts, sight.nodes[name].get("torch_gpus")), *_ill(gpus)]
        for words, remedy in ill:
            yield Check("gpu", (name,), "finding", words, remedy)
        if not ill:
            models = ", ".join(str(gpu["name"]) for gpu in gpus if isinstance(gpu, dict))
            yield Check("gpu", (name,), "ok", models or "none")


def _seen(gpus: list[dict[str, Any]] | str, ray_counts: int, torch_sees: int | None) -> Iterator[tuple[str, str]]:
    if isinstance(gpus, str):
        yield gpus, "mend the driver: nvidia-smi must list its GPUs"
    elif ray_counts > len(gpus):
        yield (
            f"Ray counts {ray_counts}, NVIDIA's driver {len(gpus)}",
            "mend the driver, or start Ray there with the number of GPUs there are",
        )
    elif torch_sees is not None and torch_sees < min(ray_counts, len(gpus)):
        yield f"PyTorch sees {torch_sees} of {ray_counts}", "update NVIDIA's driver to PyTorch's CUDA, or install the PyTorch that suits it"


def _ill(gpus: list[dict[str, Any]] | str) -> Iterator[tuple[str, str]]:
    for place, gpu in enumerate(gpus):
        if not isinstance(gpu, dict):
            return
        called = f"GPU {place} ({gpu['name']})"
        if gpu["ecc"]:
            yield f"{called}: {gpu['ecc']} uncorrected memory errors since the driver started", "reset the GPU or restart the node"
        if gpu["rows_failed"]:
            yield f"{called}: a memory row could not be replaced", "take the GPU out of use: its memory is worn"
        elif gpu["rows_pending"]:
            yield f"{called}: a memory row waits to be replaced", "reset the GPU or restart the node"
        if gpu["slowed"]:
            yield f"{called}: slowed down by {', '.join(gpu['slowed'])}", "see to its cooling and power"
        if gpu["total"] and gpu["free"] < GPU_FREE * gpu["total"]:
            others = f" (processes {', '.join(map(str, gpu['processes']))})" if gpu["processes"] else ""
            yield f"{called}: {gpu['free'] / 1e9:.1f} of {gpu['total'] / 1e9:.1f} GB free{others}", "wait for that work, or end it"
