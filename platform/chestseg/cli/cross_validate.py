"""`chestseg cross-validate`: every fold held out once, one out-of-fold table, and the ensemble of all networks as the candidate."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import numpy as np

from chestseg.bundle import Bundle
from chestseg.cli.train import dataset_of, gate_tags, train_tracked
from chestseg.config import Experiment, load_experiment
from chestseg.config.location import inside
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.cluster import attach
from chestseg.distributed.score_folds import at_once, score_out_of_fold, score_together, weights_of
from chestseg.evaluation.conclude import BUNDLE
from chestseg.evaluation.folds import aligned, bundle_of, fold_lines, pooled, rules_of, save_ensemble
from chestseg.evaluation.pictures import shown
from chestseg.evaluation.report import REPORT, Evaluated, write_report
from chestseg.evaluation.report_cases import FOLDER, Shows
from chestseg.evaluation.subgroups import case_facts
from chestseg.evaluation.summary import Evaluation, ScoreTable, summarise_groups
from chestseg.evaluation.write import SUMMARY, write_evaluation
from chestseg.files import exclusive
from chestseg.inference.predictor import Predictor
from chestseg.inference.predictors import predictor_of
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.tracking.environment import explained, reach
from chestseg.tracking.evaluations import Files, finish_run, run_kept_in
from chestseg.tracking.journal import Registration
from chestseg.tracking.registration import register_entry
from chestseg.training.run import training_cases
from chestseg.training.run_folder import result_folder

RECORD = "cross_validation.json"
OUT_OF_FOLD = "out_of_fold"


def run(config_path: str, overrides: Sequence[str] = ()) -> int:
    """Train each fold, as many at once as the cluster holds, and put them together; the same command again goes on where it stopped.

    Raises:
        ValueError: the config, the data, the weights, the disk or MLflow don't allow it, or there is one fold only.
    """
    experiment = load_experiment(config_path, overrides)
    dataset = PreparedDataset.open(experiment.data.prepared)
    experiments = fold_experiments(experiment, dataset)
    place = folder_of(experiment)
    print(f"{place}: {len(experiments)} folds")
    with (
        result_folder(place) as (folder, keep),
        exclusive(folder, "cross-validated"),
        attach(),
        parent_run(experiment, folder, dataset.hash) as parent,
    ):
        keep()  # whoever goes on elsewhere after this process finds the run in MLflow
        train_folds(experiments, dataset_of(experiments[0]), parent)
        bundle, tables = put_together(experiment, experiments, dataset, folder)
        publish(experiment, bundle, folder, parent)
    print(f"\n{aligned(fold_lines(tables))}\n{inside(place, BUNDLE)}")
    return 0


def fold_experiments(experiment: Experiment, dataset: PreparedDataset) -> list[Experiment]:
    """The experiment with each fold of the training split held out.

    Raises:
        ValueError: fewer than two folds have cases, or one can't be trained without.
    """
    folds = np.unique(dataset.fold[dataset.indices("train")]).tolist()
    if len(folds) < 2:
        raise ValueError(f"{dataset.folder} has {len(folds)} fold(s): prepare with data.folds of 2 or more")
    found = [experiment.model_copy(update={"fold": int(fold)}) for fold in folds]
    for one in found:
        training_cases(one, dataset)
    return found


def folder_of(experiment: Experiment) -> str:
    """Where tables, report and the ensemble go, beside the folds' own folders."""
    return inside(experiment.storage, f"{experiment.name}-cv-{experiment.model_copy(update={'fold': 'all'}).digest}")


def parent_run(experiment: Experiment, folder: Path, dataset_hash: str) -> AbstractContextManager[str]:
    """Id of the MLflow run that the folds' runs lie under; that of an earlier start where there was one."""
    tags = {"dataset_hash": dataset_hash, "folds": str(experiment.data.folds)}
    return run_kept_in(folder / RECORD, experiment.tracking, f"{experiment.name} cross-validation", tags)


def train_folds(experiments: Sequence[Experiment], dataset: PreparedDataset, parent: str) -> None:
    """All of them, side by side as far as there is room or nodes may come; Ctrl-C leaves what was reached."""
    together = at_once(experiments[0], len(experiments))
    if together == 1:
        for one in experiments:
            train_tracked(one, dataset, parent)
        return
    pool = ThreadPoolExecutor(together, thread_name_prefix="fold")
    try:
        for outcome in [pool.submit(train_tracked, one, dataset, parent) for one in experiments]:
            outcome.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def put_together(
    experiment: Experiment, experiments: list[Experiment], dataset: PreparedDataset, folder: Path
) -> tuple[Bundle, dict[str, ScoreTable]]:
    """Tables of each fold, out of fold and on the test split, the report, and the bundle."""
    rules, rule = rules_of(experiments, folder)
    evaluations = score_out_of_fold(experiments, rules)
    tables = {f"fold {one.fold}": _table(found, dataset) for one, found in zip(experiments, evaluations, strict=True)}
    results = {OUT_OF_FOLD: pooled(evaluations)}
    if len(dataset.indices("test")):
        results["test"] = score_together(experiments, rule)
    facts = {"dataset_hash": dataset.hash, "folds": len(experiments)}
    scored = {
        split: write_evaluation(folder / "evaluation" / split, found, dataset, facts | {"split": split}) for split, found in results.items()
    }
    bundle = save_ensemble(folder / BUNDLE, experiments, weights_of(experiments), rule, scored)
    places = {case_id: place for place, case_id in enumerate(dataset.case_ids)}
    indices = np.array([places[row.case_id] for row in results[OUT_OF_FOLD].rows])
    notes = ("Each case was scored by the network that did not learn from it" + _chosen(experiment),)
    evaluated = Evaluated(bundle, dataset, OUT_OF_FOLD, indices, results[OUT_OF_FOLD], scored[OUT_OF_FOLD], notes)
    write_report(evaluated, _shows(experiments, dataset), folder / "evaluation" / OUT_OF_FOLD)
    return bundle, tables | {"out of fold" if split == OUT_OF_FOLD else "test, ensemble": table for split, table in scored.items()}


def publish(experiment: Experiment, bundle: Bundle, folder: Path, parent: str) -> None:
    """Scores, report and the ensemble to MLflow, as the candidate where the experiment names a model."""
    client, tracking = reach(experiment.tracking.uri), experiment.tracking
    files: list[tuple[Path, str]] = []
    for place in sorted((folder / "evaluation").iterdir()):
        held = [(place / name, f"evaluation/{place.name}") for name in (REPORT, SUMMARY)]
        files += [*held, (place / FOLDER, f"evaluation/{place.name}/{FOLDER}")]
    kept: Files = [(path, target) for path, target in files if path.exists()]
    with explained(tracking.uri):
        finish_run(client, parent, bundle.spec.metrics, kept)
        if tracking.model:
            tags = {key: str(value) for key, value in gate_tags(bundle).items()}
            version = register_entry(client, folder, Registration(parent, str(bundle.folder.absolute()), tracking.model, tags))
            print(f"{tracking.model} version {version} is the candidate: {bundle.spec.members} networks")


def _table(found: Evaluation, dataset: PreparedDataset) -> ScoreTable:
    return summarise_groups(found, case_facts(dataset, [row.case_id for row in found.rows]))


def _shows(experiments: Sequence[Experiment], dataset: PreparedDataset) -> Shows:
    """Pictures of a case by the network that held it out."""

    @cache
    def predictor(fold: int) -> Predictor | VolumePredictor:
        [own] = [one for one in experiments if one.fold == fold]
        return predictor_of(bundle_of(own))

    return lambda index: shown(predictor(int(dataset.fold[index])), dataset, index)


def _chosen(experiment: Experiment) -> str:
    return ", with post-processing chosen on the other folds." if experiment.choose else "."
