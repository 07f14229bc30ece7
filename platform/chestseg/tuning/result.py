"""What a sweep leaves: the best configuration as an experiment that trains as it is, a table of all trials, and a summary."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from chestseg.config import Experiment, Stage, experiment_from
from chestseg.config.sweep import Sweep
from chestseg.files import whole_file
from chestseg.tuning.compute import Costs
from chestseg.tuning.records import Direction, TrialRecord, best_of, pareto_front
from chestseg.tuning.space import experiment_of

RESULT = "result"
"""Folder in the sweep's."""
RULE = "rule"
"""Key of a record's `extra`: post-processing that was chosen for the trial on its held-out fold."""
BEST, ALL, TRIALS, SUMMARY = "best.yaml", "all.yaml", "trials.csv", "summary.json"


@dataclass(frozen=True)
class Outcome:
    """A sweep as far as it came, with all that its tables and pictures are made from."""

    sweep: Sweep
    base: Experiment
    costs: Costs
    records: Sequence[TrialRecord]

    @property
    def objectives(self) -> list[str]:
        """What the values of a trial are called, in their order."""
        return [self.sweep.metric, *([self.sweep.second] if self.sweep.second else [])]

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the best metric, None where none finished."""
        return best_of(self.records)

    @property
    def front(self) -> list[TrialRecord]:
        """With a second objective, the finished trials that no other one beats in both; by number."""
        directions: list[Direction] = ["maximize", "minimize"]
        return pareto_front(self.records, directions) if self.sweep.second else []

    @cached_property
    def experiments(self) -> dict[int, Experiment]:
        """What each trial trained, by number, with the window that was chosen; those that the budget can't afford are left out."""
        affordable = {}
        for record in self.records:
            try:
                affordable[record.number] = experiment_tried(self.sweep, self.base, record, self.costs)
            except ValueError:
                continue
        return affordable

    def share(self, record: TrialRecord) -> float:
        """Compute a trial has used, as a part of a trial's budget."""
        return spent(record) / self.sweep.budget.per_trial


def spent(record: TrialRecord) -> float:
    """Compute up to a trial's last report, in the budget's unit."""
    return record.reports[-1].compute if record.reports else 0.0


def experiment_tried(sweep: Sweep, base: Experiment, record: TrialRecord, costs: Costs) -> Experiment:
    """A trial's experiment with its chosen window, which trains to the weights that the trial ended with.

    Raises:
        ValueError: the budget can't afford it.
    """
    tried = experiment_of(sweep, base, record.params, costs, record.number)
    if "window" not in record.extra:
        return tried
    tree = tried.model_dump(mode="json")
    tree["stages"][-1]["swa"] |= record.extra["window"]["swa"]
    return experiment_from(tree, where=f"trial {record.number}")


def best_experiment(
    sweep: Sweep, base: Experiment, record: TrialRecord, fold: int | Literal["all"] | None = None, *, costs: Costs
) -> Experiment:
    """A trial's experiment under a name of its own, stored and registered as the base says.

    On all folds nothing is held out that post-processing could be chosen on: there the rule that was chosen for the trial is kept.

    Args:
        sweep: the sweep.
        base: its base experiment.
        record: the trial, as a rule the best.
        fold: the held-out one; the base's when None. With `all` a stage runs to its end, since there is nothing to stop it by.
        costs: what stages cost in this sweep, which the epochs follow from.

    Raises:
        ValueError: the budget can't afford it, or there is no such fold.
    """
    tree = experiment_tried(sweep, base, record, costs).model_dump(mode="json")
    tree |= {"storage": base.storage, "tracking": base.tracking.model_dump(mode="json"), "fold": base.fold if fold is None else fold}
    tree["name"] = f"{sweep.name}-{'all' if tree['fold'] == 'all' else 'best'}"
    if tree["fold"] == "all":
        tree["stages"] = [stage | {"early_stop": None} for stage in tree["stages"]]
        tree["choose"] = None  # it looks at a held-out fold, too
        tree["postprocessing"] |= record.extra.get(RULE, {})
    return experiment_from(tree, where=f"trial {record.number}")


def write_result(outcome: Outcome, folder: Path) -> None:
    """Write the table and the summary, and where a trial finished `best.yaml`; of a Pareto front each as `pareto-NUMBER.yaml` too.

    Where the sweep wants the best one trained again on all folds, that is `all.yaml`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if outcome.best:
        write_experiment(outcome, outcome.best, folder / BEST)
        if outcome.sweep.retrain:
            write_experiment(outcome, outcome.best, folder / ALL, fold=outcome.sweep.retrain)
    for record in outcome.front:
        write_experiment(outcome, record, folder / f"pareto-{record.number:04d}.yaml")
    write_trials(outcome, folder / TRIALS)
    with whole_file(folder / SUMMARY) as file:
        file.write_text(json.dumps(summary(outcome), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_experiment(outcome: Outcome, record: TrialRecord, path: Path, fold: Literal["all"] | None = None) -> None:
    """Write a trial's experiment, held-out fold and all, as YAML whose first lines say what it is and the command that runs it."""
    experiment = best_experiment(outcome.sweep, outcome.base, record, fold, costs=outcome.costs)
    ended = sum(r.state in ("complete", "pruned") for r in outcome.records)
    scores = ", ".join(f"{name} {value:.4g}" for name, value in zip(outcome.objectives, record.values, strict=True))
    header = [
        f"Trial {record.number} of the sweep {outcome.sweep.name} ({ended} trials): {scores} on fold {outcome.base.fold}, which chose it.",
        f"Schedule: {schedule(experiment)}.",
        f"python jobs/train.py {path}",
    ]
    with whole_file(path) as file, file.open("w", encoding="utf-8") as text:
        text.writelines(f"# {line}\n" for line in header)
        yaml.safe_dump(experiment.model_dump(mode="json"), text, sort_keys=False, width=120, allow_unicode=True)


def write_trials(outcome: Outcome, path: Path) -> None:
    """Write a CSV row a trial; a cell is empty where there is nothing to say."""
    names = sorted({name for record in outcome.records for name in record.params})
    columns = ["number", "state", "schedule", "compute", "share", "seconds", *outcome.objectives, "rungs", "window", "reason", *names]
    with whole_file(path) as file, file.open("w", newline="", encoding="utf-8") as text:
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(_row(outcome, record) for record in outcome.records)


def _row(outcome: Outcome, record: TrialRecord) -> dict[str, Any]:
    experiment = outcome.experiments.get(record.number)
    values = {name: f"{value:.6g}" for name, value in zip(outcome.objectives, record.values, strict=False) if math.isfinite(value)}
    return {
        "number": record.number,
        "state": record.state,
        "schedule": schedule(experiment) if experiment else "",
        "compute": f"{spent(record):.6g}",
        "share": f"{outcome.share(record):.4f}",
        "seconds": f"{(record.finished - record.asked) / 1000:.1f}" if record.finished else "",
        "rungs": decisions(record),
        "window": window_in_words(experiment.stages[-1]) if experiment and record.state == "complete" else "",
        "reason": record.extra.get("reason", ""),
        **values,
        **record.params,
    }


def summary(outcome: Outcome) -> dict[str, Any]:
    """The sweep in numbers, fit for JSON."""
    states = [record.state for record in outcome.records]
    best = outcome.best
    return {
        "name": outcome.sweep.name,
        "digest": outcome.sweep.digest,
        "trials": {state: states.count(state) for state in ("complete", "pruned", "failed", "running")},
        "unit": outcome.sweep.budget.unit,
        "compute": sum(map(spent, outcome.records)),
        "compute_without_stops": outcome.sweep.budget.per_trial * sum(state in ("complete", "pruned") for state in states),
        "objectives": outcome.objectives,
        "best": _told(best) if best else None,
        "pareto": [record.number for record in outcome.front],
    }


def _told(record: TrialRecord) -> dict[str, Any]:
    window = record.extra.get("window", {}).get("swa")
    return {"number": record.number, "values": list(record.values), "params": record.params, "window": window}


def schedule(experiment: Experiment) -> str:
    """The stages in a few words: resolution and epochs of each."""
    return " → ".join(f"{resolution(stage)} × {stage.epochs}" for stage in experiment.stages) + " epochs"


def resolution(stage: Stage) -> str:
    """What a stage sees, without the patch."""
    return stage.resolution.partition(",")[0]


def decisions(record: TrialRecord) -> str:
    """What was decided at each rung a trial came to."""
    met = [(report.rung + 1, report) for report in record.reports if report.rung is not None]
    return "; ".join(f"{rung}: {report.value:.4f} {'goes on' if report.goes_on else 'stops'}" for rung, report in met)


def window_in_words(stage: Stage) -> str:
    """Which epochs' weights a stage averages, counted from 1."""
    if stage.swa is None:
        return "no average"
    last = stage.epochs - stage.swa.skip
    every = f", every {stage.swa.stride}" if stage.swa.stride > 1 else ""
    return f"epochs {max(1, last - stage.swa.last + 1)} to {last}{every}"
