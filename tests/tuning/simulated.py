"""Sweeps over a cheap pure function, driven as a driver does it, one trial at a time or several, and killed between any two bytes."""

import math
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from chestseg.tuning.asha import Rungs
from chestseg.tuning.conductor import Conductor, Trial
from chestseg.tuning.records import Entry, SweepJournal, TrialRecord
from chestseg.tuning.sampler import Kind, Sampler

MARKS = (1.0, 3.0)
REDUCTION = 3
TRIALS = 20


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


class MortalJournal(SweepJournal):
    """Kills the driver at its n-th write: before it, after it, or in the middle of the line."""

    def __init__(self, folder: Path, writes: int, draw: random.Random) -> None:
        super().__init__(folder)
        self._left, self._draw = writes, draw

    def append(self, entry: Entry) -> None:
        self._left -= 1
        moment = self._draw.choice(["before", "middle", "after"]) if self._left == 0 else None
        if moment == "before":
            raise Killed
        size = self.path.stat().st_size
        super().append(entry)
        if moment == "middle":
            os.truncate(self.path, self._draw.randrange(size + 1, self.path.stat().st_size))
        if moment:
            raise Killed


def conditional(trial: optuna.Trial) -> dict[str, Any]:
    """One stage or two, each with a rate of its own."""
    stages = trial.suggest_int("stages", 1, 2)
    trial.suggest_categorical("encoder", ["small", "large"])
    for stage in range(stages):
        trial.suggest_float(f"rate.{stage}", 1e-4, 1e-1, log=True)
    if stages == 2:
        trial.suggest_float("share.1", 0.1, 0.9)
    return trial.params


def numeric(trial: optuna.Trial) -> dict[str, Any]:
    """Three numbers, always."""
    trial.suggest_float("rate.0", 1e-4, 1e-1, log=True)
    trial.suggest_float("share.1", 0.1, 0.9)
    trial.suggest_int("crop", 2, 9)
    return trial.params


def objective(params: dict[str, Any], epoch: int) -> float:
    """A Dice after an epoch; trials with `crop` 9 or a high rate diverge, and those of low share all stay at 0."""
    rate, share = math.log10(params["rate.0"]), params.get("share.1", 0.5)
    if params.get("crop") == 9 or rate > -1.2:
        return math.nan
    if share < 0.2:
        return 0.0
    best = 1 - 0.2 * (rate + 2.5) ** 2 - (share - 0.6) ** 2 + (0.05 if params.get("encoder") == "large" else 0)
    return max(0.0, best) * (1 - math.exp(-(epoch + 1) * (1.5 if params.get("stages") == 2 else 1.0)))


def conductor(journal: SweepJournal, kind: Kind, seed: int, trials: int = TRIALS) -> Conductor:
    sampler = Sampler(kind, seed, numeric if kind == "cmaes" else conditional, fixed_numeric=kind == "cmaes")
    return Conductor(journal, sampler, Rungs(MARKS, REDUCTION), trials)


def train(conducted: Conductor, trial: Trial, checkpoints: dict[int, int]) -> Iterator[None]:
    """One trial, an epoch at a time, resumed from its checkpoint; every seventh one fails at once."""
    if trial.number % 7 == 6:
        conducted.finish(trial.number, "failed", extra={"reason": "out of memory"})
        return
    stages = trial.params.get("stages", 1)
    epochs, cost = 4 * stages, 0.9 * 5 / (4 * stages)
    for epoch in range(checkpoints.get(trial.number, 0), epochs):
        goes_on = conducted.report(trial.number, epoch, (epoch + 1) * cost, objective(trial.params, epoch))
        if not goes_on:
            conducted.finish(trial.number, "pruned")
            return
        # The last checkpoint is an epoch behind the last report, so a resumed trial reports an epoch again.
        checkpoints[trial.number] = epoch
        yield
    conducted.finish(trial.number, "complete", [objective(trial.params, epochs - 1)])


def drive(conducted: Conductor, at_once: int, checkpoints: dict[int, int], draw: random.Random) -> None:
    """All trials that are left, `at_once` of them side by side, in an order that `draw` decides."""
    running: list[Iterator[None]] = []
    while True:
        while len(running) < at_once and (trial := conducted.next()):
            running.append(train(conducted, trial, checkpoints))
        if not running:
            return
        chosen = draw.choice(running)
        if next(chosen, "ended") == "ended":
            running.remove(chosen)


def run_to_the_end(
    folder: Path, kind: Kind, seed: int, at_once: int = 1, lives: Callable[[], int] | None = None
) -> tuple[list[TrialRecord], int]:
    """The sweep's records and how often it was killed; each life ends with the write that `lives` says."""
    checkpoints: dict[int, int] = {}
    draw, kills = random.Random(seed), 0
    while True:
        journal = MortalJournal(folder, lives(), draw) if lives else SweepJournal(folder)
        try:
            conducted = conductor(journal, kind, seed)
            drive(conducted, at_once, checkpoints, draw)
        except Killed:
            kills += 1
        else:
            return conducted.records(), kills


def timeless(records: list[TrialRecord]) -> list[TrialRecord]:
    """The same records without the clock's readings, and with NaN as something that equals itself."""
    return [
        replace(
            record,
            asked=0,
            finished=0,
            values=tuple(map(str, record.values)),  # type: ignore[arg-type]
            reports=[str((r.step, r.compute, r.value, r.goes_on, r.rung)) for r in record.reports],  # type: ignore[list-item]
        )
        for record in records
    ]
