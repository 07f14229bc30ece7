"""What the driver of a sweep and the processes of its trials say to each other."""

from dataclasses import dataclass, field

from chestseg.distributed.bucket_run import Bucket
from chestseg.distributed.score_trial import Scored, Scoring
from chestseg.tracking.tracked_run import TrackedRun
from chestseg.training.reporter import Report

TOLD = "told"
"""Key of a report to Ray Tune under which the driver finds a `Validated`, `Scored`, `Failed` or `Hindered`."""


@dataclass(frozen=True)
class Assignment:
    """What a trial's process is told; plain data, since Ray Tune copies and pickles it."""

    number: int
    label: str
    experiment: str = field(repr=False)
    """JSON, its paths absolute."""
    run: TrackedRun = field(repr=False)
    scoring: Scoring = field(repr=False)
    gpu: bool = False
    bucket: Bucket | None = field(default=None, repr=False)
    """Where the run's folder lies, if not in a folder that all nodes share."""
    answers: str | None = None
    """Name of the actor where workers hear the driver's decisions; None where the trial is one process."""


@dataclass(frozen=True)
class Validated:
    """An epoch of a trial was validated; the trial waits for the answer."""

    step: int
    """Optimiser steps over all stages."""
    value: float


@dataclass(frozen=True)
class Failed:
    """A trial met what another attempt would meet too."""

    reason: str
    """One line."""


@dataclass(frozen=True)
class Hindered:
    """A trial met trouble of the place it works in, see `places`: nothing is known of its point, and the next trial would meet it too."""

    reason: str
    """One line."""


Told = Validated | Scored | Failed | Hindered


def validated_in(report: Report, metric: str) -> Validated | None:
    """What the driver shall decide on, None where this report is of no validated epoch.

    Raises:
        ValueError: the epoch was validated and the metric is not among its results.
    """
    found = {name: value for name, value in report.metrics.items() if name.startswith("val_")}
    if not found:
        return None
    if metric not in found:
        raise ValueError(f"metric {metric!r}: validation gives {', '.join(sorted(found))}: set the sweep's metric to one of these")
    return Validated(report.step, found[metric])
