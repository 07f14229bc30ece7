"""`chestseg doctor`: looks from this machine and, by tasks pinned to each, from every node of the attached cluster."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.cloudpickle
from ray._private.worker import get_dashboard_url
from ray.exceptions import GetTimeoutError, NodeDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from chestseg.distributed import doctor_gpu, doctor_node, doctor_ports
from chestseg.distributed.doctor_need import Need
from chestseg.tracking.environment import reach

HERE = "this machine"
PINGS = 5
FOR_IMPORTS = 0.75
"""Share of a node's time that importing the package may take."""
HEAD = "node:__internal_head__"
UNEXPECTED = 2
"""Ray's number for the death of a node that nobody asked for."""


@dataclass
class Sight:
    """What was seen, not yet judged; nodes go by name."""

    nodes: dict[str, dict[str, Any]]
    """What this machine and each node that answers said of itself."""
    resources: dict[str, dict[str, float]]
    """What Ray counts on each living node."""
    died: list[str]
    """Nodes that were lost before."""
    silent: dict[str, str] = field(default_factory=dict)
    """Nodes that did not answer, and why."""
    gpus: dict[str, list[dict[str, Any]] | str] = field(default_factory=dict)
    ports: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    clocks: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Seconds that a node's clock is ahead of this machine's, and by how much that may be wrong."""
    unwritten: dict[str, str] = field(default_factory=dict)
    """Who could not write into the storage, and why."""
    unread: dict[str, dict[str, str]] = field(default_factory=dict)
    """Who could not read whose files in the storage, and why."""
    mlflow: str = ""
    """Why MLflow can't be used from this machine."""


def look_around(need: Need | None, timeout: float) -> Sight:
    """Look from this machine and from every node of the attached cluster.

    Args:
        need: what to look for; None for what does not depend on a config.
        timeout: seconds that a node may take to answer a question; one that does not is not asked the next.

    Returns:
        What was seen; a node that is slow or lost meanwhile is among the `silent`.
    """
    with _sent_by_value():
        nodes = Nodes(timeout)
        marker, server = (need.marker, need.server) if need else (None, None)
        dashboards = {nodes.head: get_dashboard_url()}
        answers = nodes.ask(doctor_node.look, lambda name: (timeout * FOR_IMPORTS, marker, server, dashboards.get(name)))
        sight = Sight({HERE: doctor_node.look(None, marker, server), **answers}, nodes.resources, nodes.died)
        sight.gpus = nodes.ask(doctor_gpu.gpus)
        sight.ports = nodes.ask(doctor_ports.listening)
        sight.clocks = {name: offset for name in nodes.answering() if (offset := _offset(nodes, name))}
        if need:
            sight.unwritten, sight.unread = _share_files(nodes, need.shared)
            sight.mlflow = _mlflow(need)
        sight.silent = nodes.silent
    return sight


class Nodes:
    """The cluster's living nodes, as long as they answer."""

    def __init__(self, timeout: float) -> None:
        listed = {_name(node): node for node in ray.nodes()}
        alive = {name: node for name, node in listed.items() if node["Alive"]}
        self.timeout = timeout
        self.ids: dict[str, str] = {name: node["NodeID"] for name, node in alive.items()}
        self.resources: dict[str, dict[str, float]] = {name: node["Resources"] for name, node in alive.items()}
        self.died = [name for name, node in listed.items() if not node["Alive"] and node["DeathReason"] == UNEXPECTED]
        self.head = next((name for name, has in self.resources.items() if HEAD in has), None)
        self.silent: dict[str, str] = {}

    def answering(self) -> list[str]:
        """Names of those that have answered so far."""
        return [name for name in self.ids if name not in self.silent]

    def ask(self, function: Callable[..., Any], arguments: Callable[[str], tuple[Any, ...]] = lambda name: ()) -> dict[str, Any]:
        """Call a function on all that answer, at once; who does not return in time, or is lost, is silent from then on."""
        asked = {name: self._start(name, function, arguments(name)) for name in self.answering()}
        if asked:
            ray.wait(list(asked.values()), num_returns=len(asked), timeout=self.timeout)
        answers = {name: self._collect(name, task, 0) for name, task in asked.items()}
        return {name: answer for name, answer in answers.items() if name not in self.silent}

    def ask_one(self, name: str, function: Callable[..., Any]) -> Any:
        """Call a function on one and wait; None where it does not answer."""
        return self._collect(name, self._start(name, function, ()), self.timeout)

    def _start(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        pinned = NodeAffinitySchedulingStrategy(self.ids[name], soft=False)
        return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=pinned).remote(*arguments)

    def _collect(self, name: str, task: Any, within: float) -> Any:
        try:
            return ray.get(task, timeout=within)
        except GetTimeoutError:
            self.silent[name] = f"no answer within {self.timeout:g} s"
            ray.cancel(task, force=True)
        except (TaskUnschedulableError, NodeDiedError):
            self.silent[name] = "is lost"
        except RayError as error:
            self.silent[name] = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        return None


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"


@contextlib.contextmanager
def _sent_by_value() -> Iterator[None]:
    """Send the doctor's own questions as code: a node that lacks this package, or has another version, shall answer too."""
    modules = (doctor_node, doctor_gpu, doctor_ports)
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)


def _offset(nodes: Nodes, name: str) -> tuple[float, float] | None:
    """How far a node's clock is ahead, from the quickest of some round trips, and half that trip: the error it may have."""
    best = None
    for _ in range(PINGS):
        before, there, after = time.time(), nodes.ask_one(name, doctor_node.tick), time.time()
        if there is None:
            return None
        trip = (there - (before + after) / 2, (after - before) / 2)
        best = trip if best is None or trip[1] < best[1] else best
    return best


def _share_files(nodes: Nodes, folder: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Let everybody write a file, and everybody read all of them; then take them away."""
    texts = {name: secrets.token_hex(16) for name in (HERE, *nodes.answering())}
    files = {name: f"{place}.txt" for place, name in enumerate(texts)}
    owners = {file: name for name, file in files.items()}
    unwritten = {HERE: doctor_node.write_mark(folder, files[HERE], texts[HERE])}
    unwritten |= nodes.ask(doctor_node.write_mark, lambda name: (folder, files[name], texts[name]))
    unwritten = {name: reason for name, reason in unwritten.items() if reason}
    marks = {files[name]: text for name, text in texts.items() if name not in unwritten and (name == HERE or name in nodes.answering())}
    wrong = {HERE: doctor_node.read_marks(folder, marks), **nodes.ask(doctor_node.read_marks, lambda name: (folder, marks))}
    nodes.ask(doctor_node.remove_marks, lambda name: (folder,))
    doctor_node.remove_marks(folder)
    return unwritten, {name: {owners[file]: reason for file, reason in files.items()} for name, files in wrong.items() if files}


def _mlflow(need: Need) -> str:
    """Why MLflow can't be used from here, remedy included; a SQLite file that does not exist yet is made by the run, not by this."""
    if need.database and not need.database.exists():
        return ""
    try:
        reach(need.experiment.tracking.uri)
    except ValueError as error:
        return str(error)
    return ""
