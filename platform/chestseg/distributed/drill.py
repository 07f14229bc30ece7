"""`chestseg drill`: a short training on a simulated cluster, disturbed in every way it ought to survive, and what that cost."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chestseg.distributed.drill_account import Toll, repeated, same_weights, skipped, tolls
from chestseg.distributed.drill_faults import Drill, MlflowServer, small_disk
from chestseg.distributed.drill_training import DrilledRun, Step, moments, write_config
from chestseg.distributed.simulated import simulated_cluster
from chestseg.distributed.train import STEPS
from chestseg.tracking.histories import Difference, difference

CHECKPOINT_EVERY = 5
AWAY = 14
"""Steps that MLflow's server is away, two epochs, and then it starts; no other fault happens in these steps."""
DISK_MB = 900
SETTINGS = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_worker_niceness": "0"}
"""Of all processes: how often Ray Train looks at its workers, which may be often in short trainings; and no worker behind the others."""


@dataclass(frozen=True)
class Outcome:
    """What a disturbed training ended in."""

    tolls: list[Toll]
    steps: int
    """That the undisturbed training took."""
    repeated: int
    skipped: int
    metrics: Difference
    same_weights: bool
    checkpoint_every: int
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> bool:
        """Whether anything was lost that should not be."""
        too_many = any(toll.repeated > self.checkpoint_every for toll in self.tolls)
        return too_many or bool(self.skipped) or self.metrics.any or not self.same_weights


def drill(folder: Path, short: bool, seed: int, say: Callable[[str], None]) -> Outcome:
    """Train twice on one simulated cluster, left alone and disturbed, and compare.

    Args:
        folder: empty, for data, runs and logs.
        short: one node of two CPUs, a worker and the driver killed; else two nodes, and every kind of fault.
        seed: of the moments.
        say: is told what happens, a line at a time.

    Raises:
        RuntimeError: the training ended before it should; with what it said.
    """
    config = write_config(folder, (2, 2) if short else (8, 8), CHECKPOINT_EVERY)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(simulated_cluster((2,) if short else (1, 1), {**SETTINGS, STEPS: str(folder)}))
        server = None if short else stack.enter_context(MlflowServer(folder))
        uri = server.uri if server else f"sqlite:///{folder}/{{}}.db"
        disk = None if short else stack.enter_context(small_disk(DISK_MB))
        left_alone = DrilledRun(config, "undisturbed", f"{folder}/runs", uri.format("undisturbed"), cluster.driver_env)
        disturbed = DrilledRun(config, "disturbed", str(disk or f"{folder}/runs"), uri.format("disturbed"), cluster.driver_env)
        drilled = Drill(cluster, disturbed, seed, server)
        expected = left_alone_steps(left_alone, say)
        faults: dict[str, Callable[[], object]] = {"worker": drilled.worker, "driver": drilled.driver}
        if server:
            faults |= {"node": drilled.node, "MLflow": lambda: drilled.mlflow(AWAY)}
        if disk:
            faults |= {"disk": lambda: drilled.disk(disk)}
        notes = () if short or disk else ("disk: not filled, for only root may mount a small one",)
        with ended(disturbed):
            disturbed.start()
            steps = moments(drilled.draw, len(faults), len(expected), apart=AWAY if server else 0)
            for step, kind in zip(steps, ordered(drilled.draw, list(faults)), strict=True):
                disturbed.wait_for_step(step)
                say(f"step {step}: {kind}")
                faults[kind]()
            if server:
                server.wait()
            finish(disturbed)
            return outcome(drilled, left_alone, expected, CHECKPOINT_EVERY, notes)


def left_alone_steps(run: DrilledRun, say: Callable[[str], None]) -> list[Step]:
    """Train to the end, undisturbed."""
    with ended(run):
        run.start()
        finish(run)
        say(f"undisturbed: {len(run.steps())} steps in {run.steps()[-1].time - run.steps()[0].time:.0f} s")
    return run.steps()


def finish(run: DrilledRun) -> None:
    """Wait for its end.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    if code := run.wait():
        raise RuntimeError(f"the training ended with code {code}:\n{run.said()}")


def outcome(drilled: Drill, left_alone: DrilledRun, expected: list[Step], checkpoint_every: int, notes: tuple[str, ...] = ()) -> Outcome:
    """Compare two runs that have ended."""
    steps, own, other = drilled.run.steps(), Path(drilled.run.experiment.run_folder), Path(left_alone.experiment.run_folder)
    return Outcome(
        tolls(drilled.faults, steps), len(expected), repeated(steps), skipped(steps, expected), difference(own, other),
        same_weights(own, other), checkpoint_every, notes,
    )  # fmt: skip


@contextlib.contextmanager
def ended(run: DrilledRun) -> Iterator[None]:
    """Leave no driver behind, however the block ends."""
    try:
        yield
    finally:
        run.kill()


def ordered(draw: random.Random, kinds: list[str]) -> list[str]:
    """The kinds in an order that is drawn. MLflow's, which the training must come on in, is not the last."""
    while (order := draw.sample(kinds, len(kinds)))[-1] == "MLflow":
        pass
    return order


def table(told: Outcome) -> list[str]:
    """An outcome as lines to be read."""
    lines = [f"{'fault':<8} {'at step':>8} {'repeated':>9} {'seconds until it went on':>25}"]
    for toll in told.tolls:
        seconds = (f"{toll.seconds:.1f}" if toll.seconds else "its steps were done") if toll.fault.stops else "did not stop"
        lines.append(f"{toll.fault.kind:<8} {toll.fault.step:>8} {toll.repeated:>9} {seconds:>25}")
    return [
        *lines,
        f"steps: {told.steps}, repeated {told.repeated} (a checkpoint every {told.checkpoint_every}), left out {told.skipped}",
        f"metrics in MLflow: {told.metrics.doubled} doubled, {told.metrics.missing} missing, {told.metrics.changed} changed",
        f"final weights equal bit for bit: {'yes' if told.same_weights else 'NO'}",
        *told.notes,
        "SOMETHING WAS LOST" if told.lost else "nothing was lost",
    ]


def require_cluster_of_its_own() -> None:
    """Refuse to drill on somebody's cluster.

    Raises:
        ValueError: RAY_ADDRESS names one.
    """
    if "RAY_ADDRESS" in os.environ:
        raise ValueError(f"RAY_ADDRESS {os.environ['RAY_ADDRESS']}: a drill kills nodes and starts a cluster of its own: unset it")
