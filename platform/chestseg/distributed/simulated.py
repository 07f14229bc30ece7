"""A cluster of several nodes simulated on this machine, on loopback, whose nodes and workers can be lost: for drills."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from chestseg.distributed.cluster import SOURCE_ROOT
from chestseg.distributed.simulated_node import UP

HOST = "127.0.0.1"
STARTS_WITHIN = 600.0
"""Seconds."""
WORKER = "ray::RayTrainWorker"
"""How Ray calls the processes of Ray Train's workers."""
RAY = (sys.executable, "-m", "ray.scripts.scripts")
PATIENT = {"RAY_agent_register_timeout_ms": str(int(STARTS_WITHIN * 1000)), "RAY_memory_monitor_refresh_ms": "0"}
"""On a busy machine: a raylet whose agents take longer to start ends without a word, and Ray kills workers where others take the memory."""
RAY_STATE = {"RAY_external_storage_namespace": "chestseg", "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
"""Settings beside `RAY_REDIS_ADDRESS` with which a cluster outlives its head: whose state it is, and how long nodes look for a new head."""
OBJECT_STORE = 100_000_000
"""Bytes of each node's."""


@dataclass
class Node:
    """A process and all it started."""

    id: str
    process: subprocess.Popen[bytes]

    def processes(self) -> list[psutil.Process]:
        """Those that live, the one that starts others first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        return []

    def workers(self) -> list[psutil.Process]:
        """Of Ray Train."""
        return [process for process in self.processes() if _title(process).startswith(WORKER)]

    def lose(self) -> None:
        """End all of it at once, as a power cut would."""
        doomed = self.processes()
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed[1:], timeout=30)
        self.process.wait()


@dataclass
class SimulatedCluster:
    """A head without CPUs, where drivers and Ray Train's controller run, and nodes that can be lost and added."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all nodes and drivers, beside those of this process; PYTHONPATH goes behind this package's root."""
    nodes: list[Node] = field(default_factory=list)
    """Without the head."""
    head: Node | None = None

    def __post_init__(self) -> None:
        # Sockets lie in it, whose paths may not be long.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        (self.folder / "token").write_text(secrets.token_hex(32))
        self.port = free_port()
        self.address = f"{HOST}:{self.port}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}
        # On Linux too this keeps every port on loopback.
        quiet = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "NO_ALBUMENTATIONS_UPDATE": "1"}
        path = os.pathsep.join(filter(None, [str(SOURCE_ROOT), self.settings.get("PYTHONPATH") or os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, **PATIENT, **token, **quiet, **self.settings, "PYTHONPATH": path}
        self.env.pop("RAY_ADDRESS", None)

    def __enter__(self) -> Self:
        try:
            self.start_head()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for node in (*self.nodes, *([self.head] if self.head else [])):
            node.lose()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def driver_env(self) -> dict[str, str]:
        """Environment of a process that shall join the cluster."""
        return {**self.env, "RAY_ADDRESS": self.address}

    def start_head(self) -> None:
        """Start the head, or another one at the same address after it was lost."""
        (self.folder / "r").mkdir(exist_ok=True)
        self.head = self._start({"gcs_server_port": self.port, "num_cpus": 0, "temp_dir": str(self.folder / "r")})

    def lose_head(self) -> None:
        """Take the head away without a word, and all that runs on it; nodes wait for another as long as Ray lets them."""
        assert self.head
        self.head.lose()
        self.head = None

    def add_node(self, cpus: int = 1) -> Node:
        """Add a node and return when it has joined."""
        options = {"gcs_address": self.address, "redis_address": self.address, "num_cpus": cpus}
        self.nodes.append(self._start(options))
        return self.nodes[-1]

    def lose(self, node: Node) -> None:
        """Take a node away without a word."""
        self.nodes.remove(node)
        node.lose()

    def drain(self, node: Node, seconds: int) -> None:
        """Give notice that a node will go in so many seconds, as a cloud's autoscaler does; whoever calls takes it away."""
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "drill", "--deadline-remaining-seconds", str(seconds)]
        command = [*RAY, "drain-node", "--address", self.address, "--node-id", node.id, *reason]
        subprocess.run(command, env=self.env, check=True, capture_output=True)

    def workers(self) -> list[psutil.Process]:
        """Ray Train's, on all nodes."""
        return [process for node in self.nodes for process in node.workers()]

    def _start(self, options: dict[str, Any]) -> Node:
        told = json.dumps({"object_store_memory": OBJECT_STORE, "num_gpus": 0, **options})
        command = [sys.executable, "-m", "chestseg.distributed.simulated_node", told]
        name = secrets.token_hex(28)
        log, env = self.folder / f"{name}.log", {**self.env, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": name}
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        node, deadline = Node(name, process), time.monotonic() + STARTS_WITHIN
        while UP not in (said := log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                node.lose()
                raise RuntimeError(f"a node did not come up:\n{said[-3000:]}")
            time.sleep(0.05)
        return node


def end_group(process: subprocess.Popen[bytes], with_signal: int = signal.SIGKILL) -> None:
    """End a process that leads a session of its own, and those it started in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, with_signal)
    process.wait()


@contextlib.contextmanager
def simulated_cluster(nodes: Sequence[int], settings: Mapping[str, str]) -> Iterator[SimulatedCluster]:
    """A head, and a node for each number of CPUs, for the block."""
    with SimulatedCluster(settings) as cluster:
        for cpus in nodes:
            cluster.add_node(cpus)
        yield cluster


def _title(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.Error:
        return ""


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
