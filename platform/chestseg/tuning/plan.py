"""The plan of a sweep: what it takes of the cluster, how long it may last and what it leaves on disk, known before it starts."""

from dataclasses import dataclass

from chestseg.config import Asha, Experiment, Sweep
from chestseg.training.reporter import FolderReporter
from chestseg.tuning.flops import weight_bytes
from chestseg.tuning.space import models_of

OPTIMISER = 2
"""Numbers that an optimiser keeps of each weight, at most."""
ENDED = 2
"""Copies of the weights that a trial leaves: the final ones, and the bundle's."""


@dataclass(frozen=True)
class Plan:
    """Trials side by side, time and disk."""

    trials: int
    at_once: int
    workers: int
    """Of a trial."""
    cpus: int
    """Of a worker."""
    gpus: int
    """Of a worker."""
    budget: str
    longest: float | None
    """Seconds if no trial stops early; None where the speed is not known."""
    expected: float | None
    """Seconds if each rung lets its share go on."""
    disk: int
    """Bytes, when all trials have run whole."""
    free_disk: int

    def lines(self) -> list[str]:
        """To be printed before the start."""
        each = f"{self.workers} worker{'s' * (self.workers > 1)} of {self.cpus} CPU{'s' * (self.cpus > 1)}"
        gpus = " and a GPU" if self.gpus else ""
        time = "not known: the speed was not measured" if self.longest is None else f"at most {_clock(self.longest)}"
        expected = "" if self.expected is None or self.expected == self.longest else f", {_clock(self.expected)} expected"
        return [
            f"{self.trials} trials, {self.at_once} at once, each on {each}{gpus}",
            f"{self.budget} a trial; time {time}{expected}",
            f"disk: at most {self.disk / 1e9:.1f} GB, {self.free_disk / 1e9:.1f} GB are free",
        ]


def plan(sweep: Sweep, base: Experiment, at_once: int, gpu: bool, free_disk: int, speed: float | None = None) -> Plan:
    """Plan a sweep on a cluster.

    A trial of one worker runs in its worker; one of several has a process more, which takes no CPU.

    Args:
        sweep: what to plan.
        base: the sweep's.
        at_once: trials side by side, as the cluster holds or will hold them.
        gpu: whether each worker takes one.
        free_disk: bytes where the sweep's folder will lie.
        speed: compute of one worker in a second, in the budget's unit; 1 where that is seconds. None leaves times open.

    Raises:
        ValueError: the disk can't hold them all.
    """
    training = base.training
    disk = _disk(sweep, base, at_once)
    if disk > free_disk:
        raise ValueError(
            f"{sweep.folder}: {sweep.trials} trials need up to {disk / 1e9:.1f} GB and {free_disk / 1e9:.1f} GB are free: "
            "free some space, choose another storage, or lower trials or windows.tail"
        )
    longest = expected = None
    if speed := 1.0 if sweep.budget.unit == "seconds" else speed:
        whole = sweep.budget.per_trial / speed / training.workers
        windows = whole * sweep.windows.share if sweep.windows else 0.0
        longest = -(-sweep.trials // at_once) * (whole + windows)
        shares = passing(sweep.pruner)
        expected = min(longest, max(1.0, sweep.trials / at_once) * (whole * _computed(sweep.pruner, shares) + windows * shares[-1]))
    return Plan(
        trials=sweep.trials,
        at_once=at_once,
        workers=training.workers,
        cpus=training.cpus_per_worker,
        gpus=int(gpu),
        budget=f"{sweep.budget.per_trial:.3g} {sweep.budget.unit}",
        longest=longest,
        expected=expected,
        disk=disk,
        free_disk=free_disk,
    )


def passing(pruner: Asha | None) -> list[float]:
    """Share of the trials that go on after the start and after each rung, if each lets one of `reduction` go on."""
    return [pruner.reduction**-passed for passed in range(len(pruner.rungs) + 1)] if pruner else [1.0]


def _computed(pruner: Asha | None, shares: list[float]) -> float:
    """Mean compute of a trial, as a share of the budget."""
    marks = [0.0, *(pruner.rungs if pruner else ()), 1.0]
    return sum(share * (end - start) for share, start, end in zip(shares, marks, marks[1:], strict=False))


def _disk(sweep: Sweep, base: Experiment, at_once: int) -> int:
    """Checkpoints of those that run; snapshots, final weights and bundles of all."""
    swa = base.stages[-1].swa
    snapshots = sweep.windows.tail if sweep.windows else (swa.constant if swa else 0)
    running = (FolderReporter.KEPT + 1) * (1 + OPTIMISER) + 1
    copies = at_once * running + sweep.trials * (snapshots + ENDED)
    return copies * max(weight_bytes(model) for model in models_of(sweep.space, base))


def _clock(seconds: float) -> str:
    """In the largest unit that says something."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
