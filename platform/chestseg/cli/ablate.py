"""`chestseg ablate ABLATION`: train the variations of an experiment, score what each part brings, and tell it with intervals."""

import json
from collections.abc import Sequence

from chestseg.cli.train import dataset_of, train_tracked
from chestseg.config import Experiment
from chestseg.config.ablation import BASE, Ablation, load_ablation
from chestseg.config.location import inside
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.ablate import Scored, fairness, score_trainings, scorings, variant
from chestseg.distributed.cluster import attach
from chestseg.evaluation.ablation import REPORT, TABLE, Course, Found, Line, write_ablation
from chestseg.evaluation.folds import pooled
from chestseg.files import exclusive, whole_file
from chestseg.storage.copies import here
from chestseg.tracking.environment import explained, reach
from chestseg.tracking.evaluations import finish_run, run_kept_in
from chestseg.tracking.journal import FILE, Metric, read_entries
from chestseg.tracking.tracked_run import RECORD as RUN
from chestseg.tracking.tracked_run import load_run
from chestseg.training.run import training_cases
from chestseg.training.run_folder import result_folder

PLAN, RECORD = "plan.json", "ablation.json"
"""In the result's folder: epochs that were worked out, and the MLflow run of all."""
DICE, SPEED = "val_dice_positives", "images_per_second"


def run(config_path: str, overrides: Sequence[str] = ()) -> int:
    """Train what is not trained yet, score it, and write `ablation.csv` and `ablation.html`.

    Raises:
        ValueError: the ablation, its base, the data, the cluster, the disk or MLflow don't allow it.
    """
    ablation = load_ablation(config_path, overrides)
    base = ablation.experiment
    dataset = dataset_of(base)
    arrays = PreparedDataset.open(base.data.prepared)
    named = {BASE: None, **{name: name for name in ablation.variations}}
    with result_folder(ablation.folder) as (folder, keep), exclusive(folder, "ablated"), attach():
        plan: dict[str, int] = json.loads((folder / PLAN).read_text()) if (folder / PLAN).exists() else {}
        trained = {name: [variant(ablation, change, fold, arrays, plan) for fold in ablation.folds] for name, change in named.items()}
        with whole_file(folder / PLAN) as file:
            file.write_text(json.dumps(plan, indent=1))
        tags = {"dataset_hash": dataset.hash}
        with run_kept_in(folder / RECORD, base.tracking, f"ablation {ablation.name}", tags) as parent:
            keep()  # whoever goes on elsewhere after this process finds the epochs worked out and the run in MLflow
            for one in [each for experiments in trained.values() for each in experiments]:
                train_tracked(one, dataset, parent)
            notes = fairness(ablation, trained)
            found = Found(ablation.name, *_scored(ablation, trained), _schedules(trained), ablation.reach, notes=notes)
            print("\n" + write_ablation(found, arrays, folder))
            with explained(base.tracking.uri):
                finish_run(reach(base.tracking.uri), parent, {}, [(folder / name, "ablation") for name in (TABLE, REPORT)])
    print(inside(ablation.folder, REPORT))
    return 0


def _scored(ablation: Ablation, trained: dict[str, list[Experiment]]) -> tuple[tuple[Line, ...], tuple[Course, ...]]:
    lines, courses = [], []
    for name, experiments in trained.items():
        wanted = scorings(experiments[0], ablation)
        evaluations = score_trainings(experiments, [wanted] * len(experiments))
        lines += [Line(_name(name, how, wanted[0]), pooled([fold[place] for fold in evaluations])) for place, how in enumerate(wanted)]
        courses += [course for one in experiments if (course := course_of(name, one)).dice]
    return tuple(lines), tuple(courses)


def course_of(name: str, experiment: Experiment) -> Course:
    """Seconds and Dice at each validation, from the run's journal; seconds follow from the speed of each epoch."""
    record, journal = (here(inside(experiment.run_folder, name)) for name in (RUN, FILE))
    stages = {run: place for place, run in enumerate(load_run(record.parent).stage_run_ids)}
    points = [e for e, _ in read_entries(journal) if isinstance(e, Metric) and e.run in stages]
    values = {(stages[point.run], point.step, point.key): point.value for point in points}
    count = len(training_cases(experiment, PreparedDataset.open(experiment.data.prepared)).training)
    seconds, at, dice = 0.0, [], []
    for place, stage in enumerate(experiment.stages):
        images = max(1, (stage.cases_per_epoch or count) // stage.batch) * stage.batch
        for epoch in range(stage.epochs):
            speed = values.get((place, epoch, SPEED))
            seconds += images / speed if speed else 0.0
            if (place, epoch, DICE) in values:
                at.append(seconds)
                dice.append(values[place, epoch, DICE])
    assert isinstance(experiment.fold, int)
    return Course(name, experiment.fold, tuple(at), tuple(dice))


def _name(training: str, how: Scored, configured: Scored) -> str:
    off = [word for word, on, was in (("SWA", how.swa, configured.swa), ("TTA", how.tta, configured.tta)) if was and not on]
    return training + (f" without {' and '.join(off)}" if off else "")


def _schedules(trained: dict[str, list[Experiment]]) -> dict[str, str]:
    return {name: ", ".join(f"{stage.resolution} x {stage.epochs}" for stage in own[0].stages) for name, own in trained.items()}
