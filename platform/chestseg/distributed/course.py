"""A sweep's course in its driver: hands trials to Ray Tune, hears them, and tells the conductor first, then MLflow and Optuna."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chestseg.config import Experiment
from chestseg.config.sweep import Sweep
from chestseg.distributed.answers import tell_answer
from chestseg.distributed.train import for_other_nodes, uses_gpu
from chestseg.distributed.trial import CHECKPOINTS, Assignment, Failed, Scored, Validated
from chestseg.distributed.tune_adapters import Told
from chestseg.tracking.sweep_runs import SweepRuns
from chestseg.training.run import INITIAL, write_initial
from chestseg.tuning.compute import Costs, compute_reached
from chestseg.tuning.conductor import Conductor
from chestseg.tuning.flops import forward_flops
from chestseg.tuning.mirror import Mirror
from chestseg.tuning.records import State, TrialRecord
from chestseg.tuning.space import experiment_of

ONLY_WHILE_TRAINING = (CHECKPOINTS, "snapshots", INITIAL)
"""In a run's folder; removed when the trial has ended."""
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
    runs: SweepRuns
    mirror: Mirror
    dataset_hash: str
    trouble: Exception | None = None
    over: bool = False
    """All trials have been handed out."""
    _trials: dict[int, Experiment] = field(default_factory=dict)
    _begun: dict[int, float] = field(default_factory=dict)
    _mirror_again: float = 0.0

    @property
    def answers(self) -> str | None:
        """Name of the actor where workers hear decisions; None where a trial is one process."""
        return f"answers of {self.sweep.name}" if self.sweep.experiment.training.workers > 1 else None

    def hand_out(self) -> Assignment | None:
        """The next trial that its budget allows; one it does not allow has failed, and says why."""
        while trial := self.conductor.next():
            try:
                experiment = experiment_of(self.sweep, self.sweep.experiment, trial.params, self.costs, trial.number)
                if experiment.model.weights != "none" or experiment.training.workers > 1:
                    write_initial(experiment, Path(experiment.run_folder))
            except ValueError as infeasible:
                self._end(trial.number, "failed", reason=str(infeasible))
                continue
            return self._assign(trial.number, experiment)
        self.over = True
        return None

    def hear(self, number: int, told: Told) -> bool:
        """Decide on a validated epoch, or take a trial's end. What was heard before is answered as it was then."""
        match told:
            case Validated():
                goes_on = self.conductor.report(number, told.step, self._compute(number, told.step), told.value)
                if not goes_on:
                    self._end(number, "pruned")
                if self.answers is None:
                    return goes_on
                tell_answer(self.answers, number, told.step, goes_on)
            case Scored():
                self._end(number, "complete", (told.value, *self._second(number, told)), **told.extra)
            case Failed():
                self._end(number, "failed", reason=told.reason)
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
        if now or start >= self._mirror_again:
            self.mirror.bring(self.conductor.records())
            end = time.monotonic()
            self._mirror_again = end + max(MIRRORED_EVERY, (end - start) / SHARE_OF_MIRRORING)

    def _assign(self, number: int, experiment: Experiment) -> Assignment:
        run = self.runs.open_trial(experiment, self.dataset_hash, number)
        self._trials[number], self._begun[number] = experiment, time.monotonic()
        return Assignment(
            number=number,
            label=label(number, experiment),
            experiment=for_other_nodes(experiment),
            run=run,
            metric=self.sweep.metric,
            gpu=uses_gpu(experiment.training),
            latency=self.sweep.second == "latency",
            windows=self.sweep.windows.model_dump_json() if self.sweep.windows else None,
            answers=self.answers,
        )

    def _second(self, number: int, scored: Scored) -> tuple[float, ...]:
        """The second objective, where there is one."""
        experiment = self._trials[number]
        if self.sweep.second == "flops":
            return (forward_flops(experiment, experiment.stages[-1]) * (1 + experiment.postprocessing.flip_tta),)
        return () if scored.latency is None else (scored.latency,)

    def _compute(self, number: int, steps: int) -> float:
        return compute_reached(self._trials[number], self.costs, self.costs.validation_cases, steps)

    def _end(self, number: int, state: State, values: Sequence[float] = (), **extra: Any) -> None:
        """End a trial once: in the journal, then in MLflow; its checkpoints go, nobody resumes it."""
        record = next(record for record in self.conductor.records() if record.number == number)
        if record.state != "running":
            return
        if number in self._begun:
            extra["seconds"] = round(time.monotonic() - self._begun[number], 3)
        self.conductor.finish(number, state, values, extra)
        self.close_run(record)
        print(told_of(record, self._trials.get(number)), flush=True)
        if number in self._trials:
            remove_leftovers(Path(self._trials[number].run_folder))

    def close_run(self, record: TrialRecord) -> None:
        """End a trial's runs in MLflow as its record says."""
        assert record.state != "running"
        names = (self.sweep.metric, self.sweep.second)
        scores = {f"objective_{name}": value for name, value in zip(names, record.values, strict=False) if name}
        self.runs.close_trial(record.number, record.state, scores)


def remove_leftovers(folder: Path) -> None:
    """Remove from a run's folder what only a training needs; the bundle and the tables stay."""
    for name in ONLY_WHILE_TRAINING:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def label(number: int, experiment: Experiment) -> str:
    """A trial's name to read, such as `0007 128+256 px lr 3e-4`; fit for a folder."""
    seen = [stage.resolution.partition(",")[0] for stage in experiment.stages]
    unit = seen[-1].rpartition(" ")[2]
    resolutions = "+".join(text.removesuffix(f" {unit}").replace(" ", "") for text in seen)
    mantissa, _, exponent = f"{experiment.stages[-1].optimiser.lr:.1e}".partition("e")
    return f"{number:04d} {resolutions} {unit} lr {mantissa.removesuffix('.0')}e{int(exponent)}"


def told_of(record: TrialRecord, experiment: Experiment | None) -> str:
    """One line on a trial that ended."""
    name = label(record.number, experiment) if experiment else f"{record.number:04d}"
    shown = ", ".join(f"{value:.4g}" for value in record.values) or record.extra.get("reason", "")
    return f"trial {name}: {record.state} {f'after {len(record.reports)} validations ' * (record.state == 'pruned')}{shown}"
