"""A sweep's course in its driver: hands trials to Ray Tune, hears them, and tells the conductor first, then MLflow and Optuna."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chestseg.config import Experiment, Sweep
from chestseg.distributed.answers import tell_answer
from chestseg.distributed.assignment import Assignment, Failed, Hindered, Told, Validated
from chestseg.distributed.bucket_sweep import SweepBucket
from chestseg.distributed.room import uses_gpu
from chestseg.distributed.score_trial import Scored, Scoring
from chestseg.distributed.train import for_other_nodes
from chestseg.distributed.trial import CHECKPOINTS
from chestseg.tracking.sweep_runs import SweepRuns
from chestseg.training.run import INITIAL, write_initial
from chestseg.tuning.compute import Costs, compute_reached
from chestseg.tuning.conductor import Conductor
from chestseg.tuning.flops import answer_flops
from chestseg.tuning.mirror import Mirror
from chestseg.tuning.records import Direction, State, TrialRecord
from chestseg.tuning.result import schedule
from chestseg.tuning.space import experiment_of

ONLY_WHILE_TRAINING = (CHECKPOINTS, INITIAL)
"""In a run's folder; removed when the trial has ended."""
SNAPSHOTS = "snapshots"
BY_NAME = "by-name"
"""Folder in the sweep's, of links to the trials' run folders."""
MIRRORED_EVERY = 1.0
"""Seconds, at least; an Optuna storage that is slow is told less often."""
SHARE_OF_MIRRORING = 0.05
"""Of the driver's time, at most."""


@dataclass
class Course:
    """What Ray Tune's adapters ask and tell, see `tune_adapters.Driver`."""

    sweep: Sweep
    costs: Costs
    conductor: Conductor
    dataset_hash: str
    bucket: SweepBucket | None = None
    """Where the sweep's folder lies in one: `sweep` then names a copy."""
    trouble: Exception | None = None
    over: bool = False
    """All trials have been handed out."""
    _trials: dict[int, Experiment] = field(default_factory=dict)
    _begun: dict[int, float] = field(default_factory=dict)
    _runs: SweepRuns | None = None
    _mirror: Mirror | None = None
    _mirror_again: float = 0.0

    @property
    def answers(self) -> str | None:
        """Name of the actor where workers hear decisions; None where a trial is one process."""
        return f"answers of {self.sweep.name}" if self.sweep.experiment.training.workers > 1 else None

    @contextmanager
    def mirrored(self) -> Iterator[None]:
        """Tell Optuna's storage of the trials during the block, and once more when it ends, or is interrupted.

        Raises:
            ValueError: the storage stays away, or its study is of another sweep.
        """
        sweep = self.sweep
        self._mirror = Mirror(sweep.optuna, sweep.name, sweep.digest, directions_of(sweep), self.describe)
        try:
            self.tick(now=True)
            try:
                yield
            except KeyboardInterrupt:
                self.tick(now=True)
                raise
            self.tick(now=True)
        finally:
            self._mirror.close()

    def track(self, runs: SweepRuns) -> None:
        """Tell MLflow from here on, and again how the trials of earlier starts ended: a kill may have come in between."""
        self._runs = runs
        for record in self.conductor.records():
            if record.state != "running":
                self._close(record, self._experiment(record))

    def hand_out(self) -> Assignment | None:
        """The next trial that its budget allows; one it does not allow has failed, and says why.

        Raises:
            ValueError: pretrained weights can't be had any more.
            OSError: the disk is full.
        """
        while trial := self.conductor.next():
            try:
                experiment = experiment_of(self.sweep, self.sweep.experiment, trial.params, self.costs, trial.number)
            except ValueError as infeasible:
                self._end(trial.number, "failed", reason=str(infeasible))
                continue
            # Weights that can't be had end the sweep, not the trial: all trials would lack them.
            if experiment.model.weights != "none" or experiment.training.workers > 1:
                write_initial(experiment, Path(experiment.run_folder))
            return self._assign(trial.number, experiment)
        self.over = True
        return None

    def hear(self, number: int, told: Told) -> bool:
        """Decide on a validated epoch, or take a trial's end. What was heard before is answered as it was then.

        Raises:
            ValueError: the trial can't go on where it is, and is not ended: a later start resumes it.
        """
        match told:
            case Validated():
                goes_on = self.conductor.report(number, told.step, self._compute(number, told.step), told.value)
                if self.bucket:
                    self.bucket.hear(self._trials[number])
                    self.bucket.keep()
                if not goes_on:
                    self._end(number, "pruned")
                if self.answers is None:
                    return goes_on
                tell_answer(self.answers, number, told.step, goes_on)
            case Scored():
                self._end(number, "complete", (told.value, *self._second(number, told)), **told.extra)
            case Failed():
                self._end(number, "failed", reason=told.reason)
            case Hindered():
                raise ValueError(
                    f"trial {number} can't go on ({told.reason}): mend that and start the sweep again, it resumes where it was"
                )
        return True

    def lose(self, number: int, reason: str) -> None:
        """Give up a trial whose process was lost too often."""
        self._end(number, "failed", reason=f"its process was lost {self.sweep.experiment.training.max_failures + 1} times: {reason}")

    def tick(self, now: bool = False) -> None:
        """Bring Optuna's storage to the records where that is due, or `now`.

        Raises:
            ValueError: the storage stays away.
        """
        start = time.monotonic()
        if self._mirror and (now or start >= self._mirror_again):
            self._mirror.bring(self.conductor.records())
            end = time.monotonic()
            self._mirror_again = end + max(MIRRORED_EVERY, (end - start) / SHARE_OF_MIRRORING)

    def _assign(self, number: int, experiment: Experiment) -> Assignment:
        name = label(number, experiment)
        assert self._runs is not None
        run = self._runs.open_trial(experiment, self.dataset_hash, number, name)
        self._trials[number], self._begun[number] = experiment, time.monotonic()
        link_by_name(Path(self.sweep.folder), name, Path(experiment.run_folder))
        return Assignment(
            number=number,
            label=name,
            experiment=for_other_nodes(experiment),
            run=run,
            bucket=self.bucket.of(experiment) if self.bucket else None,
            scoring=Scoring(self.sweep.metric, self.sweep.second == "latency", self.sweep.windows),
            gpu=uses_gpu(experiment.training),
            answers=self.answers,
        )

    def _second(self, number: int, scored: Scored) -> tuple[float, ...]:
        """The second objective, where there is one."""
        experiment = self._trials[number]
        if self.sweep.second == "flops":
            return (answer_flops(experiment),)
        return () if scored.latency is None else (scored.latency,)

    def _compute(self, number: int, steps: int) -> float:
        return compute_reached(self._trials[number], self.costs, self.costs.validation_cases, steps)

    def _end(self, number: int, state: State, values: Sequence[float] = (), **extra: Any) -> None:
        """End a trial once: in the journal, then elsewhere."""
        record = next(record for record in self.conductor.records() if record.number == number)
        if record.state != "running":
            return
        if number in self._begun:
            extra["seconds"] = round(time.monotonic() - self._begun[number], 3)
        self.conductor.finish(number, state, values, extra)
        experiment = self._trials.get(number)
        self._close(record, experiment)
        print(told_of(record, experiment), flush=True)

    def _close(self, record: TrialRecord, experiment: Experiment | None) -> None:
        """End a trial's runs in MLflow as its record says; nobody resumes it, so its checkpoints go."""
        assert record.state != "running" and self._runs is not None
        names = (self.sweep.metric, self.sweep.second)
        scores = {f"objective_{name}": value for name, value in zip(names, record.values, strict=False) if name}
        self._runs.close_trial(record.number, record.state, scores)
        if experiment:
            remove_leftovers(Path(experiment.run_folder), bundle=record.state == "complete")
        if experiment and self.bucket:
            self.bucket.hear(experiment)
            self.bucket.remove(experiment, leftovers(bundle=record.state == "complete"))

    def _experiment(self, record: TrialRecord) -> Experiment | None:
        """What a trial trains, None where its budget does not allow it."""
        if record.number not in self._trials:
            try:
                tried = experiment_of(self.sweep, self.sweep.experiment, record.params, self.costs, record.number)
            except ValueError:
                return None
            self._trials[record.number] = tried
        return self._trials[record.number]

    def describe(self, record: TrialRecord) -> dict[str, Any]:
        """As `described`."""
        return described(record, self._experiment(record))


def link_by_name(folder: Path, name: str, run_folder: Path) -> None:
    """Let a trial's run folder be found in the sweep's by a name to read."""
    link = folder / BY_NAME / name
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(run_folder, link.parent))


def directions_of(sweep: Sweep) -> list[Direction]:
    """Of the sweep's objectives."""
    return ["maximize", "minimize"] if sweep.second else ["maximize"]


def remove_leftovers(folder: Path, bundle: bool) -> None:
    """Remove from a run's folder what only a training needs; the snapshots stay where there is a `bundle` whose window was chosen."""
    for path in (folder / name for name in leftovers(bundle)):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def leftovers(bundle: bool) -> tuple[str, ...]:
    """Names in a run's folder of what only a training needs."""
    return (*ONLY_WHILE_TRAINING, *(() if bundle else (SNAPSHOTS,)))


def label(number: int, experiment: Experiment) -> str:
    """A trial's name to read, such as `0007 128+256 px lr 3e-4`; fit for a folder."""
    seen = [stage.resolution.partition(",")[0] for stage in experiment.stages]
    unit = seen[-1].rpartition(" ")[2]
    resolutions = "+".join(text.removesuffix(f" {unit}").replace(" ", "") for text in seen)
    mantissa, _, exponent = f"{experiment.stages[-1].optimiser.lr:.1e}".partition("e")
    return f"{number:04d} {resolutions} {unit} lr {mantissa.removesuffix('.0')}e{int(exponent)}"


def described(record: TrialRecord, experiment: Experiment | None) -> dict[str, Any]:
    """What Optuna's dashboard shows of a trial beside its parameters; `experiment` is None where its budget does not allow one."""
    told = {key: value for key, value in record.extra.items() if key != "window"}
    if experiment:
        told |= {"name": label(record.number, experiment), "schedule": schedule(experiment)}
    return told | ({"window": record.extra["window"]["swa"]} if "window" in record.extra else {})


def told_of(record: TrialRecord, experiment: Experiment | None) -> str:
    """One line on a trial that ended."""
    name = label(record.number, experiment) if experiment else f"{record.number:04d}"
    shown = ", ".join(f"{value:.4g}" for value in record.values) or record.extra.get("reason", "")
    return f"trial {name}: {record.state} {f'after {len(record.reports)} validations ' * (record.state == 'pruned')}{shown}"
