"""What a drill does to a training: each function does one thing, waits until it is done, and leaves the rest to the training."""

import contextlib
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from chestseg.distributed.drill_account import Fault
from chestseg.distributed.drill_training import DrilledRun
from chestseg.distributed.local_server import HOST, Dashboard, served, wait_until_up
from chestseg.distributed.simulated import SimulatedCluster, end_group, free_port
from chestseg.tracking.environment import SETTINGS

QUIET = SETTINGS | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
MISTAKE = 2
"""Exit code of a command that ends in one line."""


class Drill:
    """A disturbed training, its cluster, and what has been done to them."""

    def __init__(self, cluster: SimulatedCluster, run: DrilledRun, seed: int = 0, server: "MlflowServer | None" = None) -> None:
        self.cluster, self.run, self.draw, self.server = cluster, run, random.Random(seed), server
        self.faults: list[Fault] = []

    def worker(self) -> None:
        """Kill one of the training's workers; Ray Train starts all of them again."""
        if workers := self.cluster.workers():
            with self._fault("worker"), contextlib.suppress(psutil.NoSuchProcess):
                self.draw.choice(workers).kill()
        else:
            self.driver()  # it is only just starting, and has no workers yet

    def node(self) -> None:
        """Take a node away, and put another in its place."""
        with self._fault("node"):
            self.cluster.lose(self.draw.choice(self.cluster.nodes))
        self.cluster.add_node()

    def driver(self) -> None:
        """Kill the command, and give it again."""
        with self._fault("driver"):
            self.run.kill()
        self._give_again()

    def mlflow(self, steps: int) -> None:
        """Kill MLflow's server, and start it again when the training has come on by so many steps; that takes it a while."""
        assert self.server
        with self._fault("MLflow", stops=False):
            self.server.kill()
        self.run.wait_for_step(self.faults[-1].step + steps)
        self.server.begin()

    def disk(self, folder: Path) -> str:
        """Fill the disk that holds the run; the command ends in one line, which is returned, and is given again when there is room."""
        ballast = folder / "ballast"
        with self._fault("disk"):
            fill(ballast)
        code = self.run.wait()
        ballast.unlink()
        said = self.run.said().splitlines()
        if code != MISTAKE or not said:
            raise RuntimeError(f"a full disk ended the command with code {code}:\n{self.run.said()}")
        self._give_again()
        return said[-1]

    def _give_again(self) -> None:
        """A command that starts needs MLflow."""
        if self.server:
            self.server.wait()
        self.run.start()

    @contextlib.contextmanager
    def _fault(self, kind: str, stops: bool = True) -> Iterator[None]:
        reached = max((step.number for step in self.run.steps()), default=0)
        self.faults.append(Fault(kind, time.time(), reached, stops))
        yield


class MlflowServer:
    """An `mlflow server` on SQLite, always at the same port and with the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://{HOST}:{self.port}"
        self._stack, self._dashboard = contextlib.ExitStack(), Dashboard("MLflow", self.uri)

    def begin(self) -> None:
        """Start it."""
        stores = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination", f"{self.folder}/artifacts"]
        command = ["mlflow", "server", "--workers", "1", "--host", HOST, "--port", str(self.port), *stores]
        self._dashboard = self._stack.enter_context(served("MLflow", command, f"{self.uri}/health", QUIET))

    def wait(self) -> None:
        """Until it answers."""
        wait_until_up([self._dashboard])

    def kill(self) -> None:
        """End it at once."""
        if self._dashboard.process:
            end_group(self._dashboard.process)
        self._stack.close()

    def __enter__(self) -> "MlflowServer":
        self.begin()
        self.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """A file system of so many megabytes for the block; None where this user may not mount one."""
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        if os.geteuid() or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(ballast: Path) -> None:
    """Take all that is left, to the last block."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
