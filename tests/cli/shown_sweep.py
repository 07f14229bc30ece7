"""A sweep as it looks from outside, in seconds: conducted as a real one, its trials' Dice a formula, told to MLflow and Optuna."""

from pathlib import Path

import yaml

from chestseg.config import Sweep
from chestseg.config.sweep import load_sweep
from chestseg.distributed.course import label
from chestseg.tracking.sweep_runs import SweepRuns, open_sweep
from chestseg.tuning.mirror import Mirror
from chestseg.tuning.records import TrialRecord
from chestseg.tuning.result import Outcome
from chestseg.tuning.space import experiment_of
from tests.tuning.outcomes import conduct

TRIALS = 16


def show(folder: Path) -> tuple[Path, Outcome]:
    """The sweep's YAML and what became of its trials, the last of which still runs; the databases lie in `folder`."""
    tracking = [f"tracking.uri=sqlite:///{folder}/mlflow.db", "tracking.experiment=pneumothorax"]
    rates = [f"stages.{stage}.optimiser.final_lr=1.0e-5" for stage in (0, 1)]
    outcome = conduct(folder / "sweeps", finished=False, name="cxr-schedule", trials=TRIALS, set=tracking + rates, windows=None)
    path = folder / "cxr_schedule.yaml"
    path.write_text(yaml.safe_dump(outcome.sweep.model_dump(mode="json", exclude_unset=True)))
    sweep = load_sweep(path)
    mirror = Mirror(sweep.optuna, sweep.name, sweep.digest, describe=lambda record: {"name": name_of(outcome, record)})
    mirror.bring(outcome.records)
    mirror.close()
    runs = open_sweep(sweep.experiment.tracking, Path(sweep.folder), sweep.name, sweep.digest, sweep.model_dump(mode="json"))
    for record in outcome.records:
        _tell(runs, sweep, outcome, record)
    assert runs.send()
    return path, outcome


def name_of(outcome: Outcome, record: TrialRecord) -> str:
    """What a trial is called."""
    return label(record.number, experiment_of(outcome.sweep, outcome.sweep.experiment, record.params, outcome.costs, record.number))


def _tell(runs: SweepRuns, sweep: Sweep, outcome: Outcome, record: TrialRecord) -> None:
    experiment = experiment_of(sweep, sweep.experiment, record.params, outcome.costs, record.number)
    run = runs.open_trial(experiment, "0123abcd", record.number, label(record.number, experiment))
    with run.recorder(system_every=None) as recorder:
        for report in record.reports:
            recorder.record({sweep.metric: report.value}, report.step, _stage(record, report.step, len(experiment.stages)))
    if record.state != "running":
        runs.close_trial(record.number, record.state, {f"objective_{sweep.metric}": value for value in record.values})


def _stage(record: TrialRecord, step: int, stages: int) -> int:
    """About where a step lies, which is enough for a picture."""
    return min(stages - 1, step * stages // (1 + max(report.step for report in record.reports)))
