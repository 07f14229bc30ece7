"""What a disturbed training lost, against one that was left alone: steps, seconds, bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chestseg.distributed.drill_training import Step
from chestseg.training.run import FINAL


@dataclass(frozen=True)
class Fault:
    """Something that was done to a training."""

    kind: str
    at: float
    """Unix time."""
    step: int
    """The last that had been done."""
    stops: bool = True
    """Whether the training has to start again."""


@dataclass(frozen=True)
class Toll:
    """What one fault cost."""

    fault: Fault
    repeated: int
    """Steps that were done again."""
    seconds: float
    """From the fault to the next step of a new process; 0 where the training did not stop."""


def tolls(faults: Sequence[Fault], steps: Sequence[Step]) -> list[Toll]:
    """What each fault cost, of which several may come before the training goes on: the first of them then is charged with the steps.

    Args:
        faults: in their order.
        steps: all that the disturbed training did, in their order.
    """
    restarts = _restarts(steps)
    found: list[Toll] = []
    for fault in faults:
        follows = next((place for place, (time, _) in enumerate(restarts) if time > fault.at), None)
        if not fault.stops or follows is None:
            found.append(Toll(fault, 0, 0.0))
            continue
        time, repeated = restarts[follows]
        restarts[follows] = (time, 0)
        found.append(Toll(fault, repeated, time - fault.at))
    return found


def _restarts(steps: Sequence[Step]) -> list[tuple[float, int]]:
    """When a process did its first step, and how many it did again."""
    found, reached, process = [], 0, None
    for step in steps:
        if step.process != process:
            found.append((step.time, reached - step.number + 1))
        reached, process = max(reached, step.number), step.process
    return found


def repeated(steps: Sequence[Step]) -> int:
    """Steps that were done more than once, by how often more."""
    return len(steps) - len({step.number for step in steps})


def skipped(steps: Sequence[Step], expected: Sequence[Step]) -> int:
    """Steps of the undisturbed training that were not done."""
    return len({step.number for step in expected} - {step.number for step in steps})


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs' final weights are equal bit for bit."""
    return (one / FINAL).read_bytes() == (other / FINAL).read_bytes()
