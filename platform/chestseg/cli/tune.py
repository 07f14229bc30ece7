"""`chestseg tune`: a sweep from its plan to its result; the same command again goes on where it was stopped."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from chestseg.cli import train
from chestseg.config import Asha, Sweep
from chestseg.config.location import inside
from chestseg.config.sweep import load_sweep
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.bucket_sweep import SweepBucket, sweep_folder
from chestseg.distributed.cluster import attach, require_shared
from chestseg.distributed.course import Course, directions_of
from chestseg.distributed.dashboards import tell_dashboard
from chestseg.distributed.measure import plan_sweep
from chestseg.distributed.tune import run_course
from chestseg.files import exclusive, whole_file
from chestseg.tracking.sweep_runs import open_sweep
from chestseg.training.run import training_cases
from chestseg.tuning.asha import Rungs
from chestseg.tuning.compute import Costs
from chestseg.tuning.conductor import Conductor
from chestseg.tuning.records import SweepJournal, TrialRecord, records_of
from chestseg.tuning.report import write_report
from chestseg.tuning.result import ALL, RESULT, Outcome, write_result
from chestseg.tuning.sampler import Sampler
from chestseg.tuning.space import draw, require_weights

CLAIM = "sweep.json"
"""In the sweep's folder: whose it is."""


def run(config_path: str, overrides: Sequence[str] = (), plan: bool = False) -> int:
    """Plan a sweep, run what is left of it, and write its result; with `plan` only the first.

    Raises:
        ValueError: the sweep, its base, the data, pretrained weights, the cluster, the disk, MLflow or Optuna's storage don't allow it;
            or no trial came to its end.
    """
    sweep = load_sweep(config_path, overrides)
    require_shared(sweep.experiment.data.prepared, sweep.storage)
    if sweep.retrain and sweep.experiment.tracking.model is None:
        told = "retrain: tracking.model of the base is null, so the best model is trained on all folds and not registered"
        print(f"chestseg: note: {told}: name a model there for a candidate", file=sys.stderr, flush=True)
    with sweep_folder(sweep) as (seen, bucket):
        return _run(seen, sweep.folder, plan, bucket)


def _run(sweep: Sweep, called: str, plan: bool, bucket: SweepBucket | None) -> int:
    """As `run`, of a sweep whose folder is `called` so, and may be a copy."""
    base = sweep.experiment
    dataset = PreparedDataset.open(base.data.prepared)
    dataset.require_split(base.data)
    require_metric(sweep, dataset)
    folder = Path(sweep.folder)
    with exclusive(folder, "tuned"):
        claim(folder, sweep, dataset.hash)
        journal = SweepJournal(folder)
        if is_left(records_of(journal.entries), sweep.trials):
            require_weights(sweep.space, base)
        with attach(), tell_dashboard(folder):
            costs, planned = plan_sweep(sweep, dataset, journal)
            print(f"sweep {called}", *planned.lines(), sep="\n", flush=True)
            if plan:
                return 0
            outcome = search(sweep, dataset, journal, costs, planned.at_once, bucket)
    print(f"\n{table(outcome.records, outcome.objectives)}")
    if not outcome.best:
        reasons = [record.extra.get("reason") for record in outcome.records if record.state == "failed"]
        raise ValueError(f"{called}: none of {len(outcome.records)} trials came to its end; the last that failed: {(reasons or ['-'])[-1]}")
    write_result(outcome, folder / RESULT)
    write_report(outcome, folder / RESULT)
    print(inside(called, RESULT))
    if sweep.retrain:
        return train.run(str(folder / RESULT / ALL))
    return 0


def search(
    sweep: Sweep, dataset: PreparedDataset, journal: SweepJournal, costs: Costs, at_once: int, bucket: SweepBucket | None = None
) -> Outcome:
    """Run all trials of a sweep that have not ended, on the attached cluster.

    Raises:
        ValueError: as of `run`.
        KeyboardInterrupt: Ctrl-C; what was reported is kept.
    """
    base, folder = sweep.experiment, Path(sweep.folder)
    conductor = Conductor(journal, sampler_of(sweep), rungs_of(sweep.pruner, sweep.budget.per_trial), sweep.trials)
    if held := conductor.records():
        ended = sum(record.state != "running" for record in held)
        print(f"going on: {ended} trials have ended, {len(held) - ended} resume", flush=True)
    keys = sweep.model_dump(mode="json", exclude={"storage", "optuna"})
    course = Course(sweep, costs, conductor, dataset.hash, bucket)
    # Optuna's storage comes first: a study that is refused shall leave no run in MLflow.
    with course.mirrored(), open_sweep(base.tracking, folder, sweep.name, sweep.digest, keys) as runs, runs.sending():
        course.track(runs)
        run_course(course, base.training, folder, at_once)
        if bucket:
            bucket.hear_all()
    return Outcome(sweep, base, costs, conductor.records())


def sampler_of(sweep: Sweep) -> Sampler:
    """Where the sweep's points come from."""
    return Sampler(sweep.sampler, sweep.seed, lambda source: draw(sweep.space, source), directions_of(sweep), sweep.space.fixed_numeric)


def rungs_of(pruner: Asha | None, per_trial: float) -> Rungs | None:
    """Rungs at shares of a trial's compute."""
    return Rungs([share * per_trial for share in pruner.rungs], pruner.reduction) if pruner else None


def require_metric(sweep: Sweep, dataset: PreparedDataset) -> None:
    """Refuse a metric that the held-out fold has no case for.

    Raises:
        ValueError: names the metric, the fold and the remedy.
    """
    cases = training_cases(sweep.experiment, dataset)
    positive = dataset.positive[cases.validation]
    missing = {"val_dice_positives": not positive.any(), "val_negatives_empty": positive.all()}
    if missing.get(sweep.metric):
        what = "positive" if sweep.metric == "val_dice_positives" else "negative"
        raise ValueError(
            f"metric {sweep.metric}: nobody would report it, fold {sweep.experiment.fold} has no {what} case: "
            "set metric: val_dice, or choose another fold"
        )


def is_left(records: Sequence[TrialRecord], trials: int) -> bool:
    """Whether any of so many trials is still to run."""
    return len(records) < trials or any(record.state == "running" for record in records)


def claim(folder: Path, sweep: Sweep, dataset_hash: str) -> None:
    """Write whose folder it is; what is in it already must be of the same sweep over the same data.

    Raises:
        ValueError: it is another's; says what differs and the remedy.
    """
    wanted = {"digest": sweep.digest, "dataset_hash": dataset_hash}
    path = folder / CLAIM
    held = json.loads(path.read_text()) if path.exists() else wanted
    for key, what in (("digest", "a sweep of other settings"), ("dataset_hash", "a sweep over another dataset")):
        if held.get(key) != wanted[key]:
            raise ValueError(f"{folder} holds {what} ({key} {held.get(key)}, now {wanted[key]}): give this sweep another name or storage")
    with whole_file(path) as file:
        file.write_text(json.dumps(wanted | {"sweep": sweep.model_dump(mode="json")}, indent=1))


def table(records: Sequence[TrialRecord], objectives: Sequence[str]) -> str:
    """A line a trial, the best first, those that were stopped by how far they came."""
    order = {"complete": 0, "pruned": 1, "failed": 2, "running": 3}

    def place(record: TrialRecord) -> tuple[float, ...]:
        return (order[record.state], *(-value for value in record.values[:1]), record.number)

    rows = [("trial", "state", "reports", *objectives, "")]
    for record in sorted(records, key=place):
        values = [f"{value:.4g}" for value in record.values] + ["-"] * (len(objectives) - len(record.values))
        rows.append((str(record.number), record.state, str(len(record.reports)), *values, str(record.extra.get("reason", ""))[:60]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
