"""From the folds of a cross-validation to rules, one out-of-fold evaluation, and the bundle of all their networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from chestseg.bundle import Bundle, BundleSpec, save_bundle
from chestseg.config import Experiment, Postprocessing, VolumePostprocessing
from chestseg.config.location import inside
from chestseg.evaluation.card import model_card
from chestseg.evaluation.choose import choose
from chestseg.evaluation.conclude import BUNDLE, CHOICE, PROBABILITIES, golden_image
from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.probabilities import ProbabilityCache
from chestseg.evaluation.summary import Evaluation, ScoreTable
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.evaluation.words import NAMES, with_span
from chestseg.evaluation.write import intervals_of, values_of
from chestseg.inference.golden import make_golden
from chestseg.inference.locate import open_bundle
from chestseg.storage.copies import here

Rule = Postprocessing | VolumePostprocessing
SHOWN = ("mean_dice", "dice_positives", "sensitivity", "specificity")


def bundle_of(experiment: Experiment) -> Bundle:
    """That of a trained experiment, of this machine's copy where it lies in a bucket. Raises as `open_bundle`."""
    return open_bundle(inside(experiment.run_folder, BUNDLE))


def rules_of(experiments: Sequence[Experiment], folder: Path) -> tuple[list[Rule], Rule]:
    """For each fold the rule its cases are scored with, chosen on the other folds only, and the ensemble's, chosen on all.

    Where nothing is to be chosen all are the experiment's. What the ensemble's was chosen from is kept in `choice/`.

    Raises:
        ValueError: nothing can be chosen on these folds, or cached probabilities are missing.
    """
    first = experiments[0]
    if first.choose is None:
        return [one.postprocessing for one in experiments], first.postprocessing
    caches = [ProbabilityCache.open(here(inside(one.run_folder, PROBABILITIES))) for one in experiments]
    everything = choose(caches, first.choose)
    everything.save(folder / CHOICE)
    others = [choose([c for c in caches if c is not own], first.choose).rule for own in caches]
    return others, everything.rule


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of all folds' cases."""
    first = evaluations[0]
    rows: list[Any] = [row for evaluation in evaluations for row in evaluation.rows]
    if isinstance(first, EvaluationResult):
        return EvaluationResult(tuple(rows), first.size)
    return VolumeEvaluation(tuple(rows), first.tolerance_mm)


def save_ensemble(
    folder: Path, experiments: Sequence[Experiment], weights: dict[str, torch.Tensor], rule: Rule, tables: Mapping[str, ScoreTable]
) -> Bundle:
    """The bundle whose probabilities are the mean of all folds'.

    Args:
        folder: of the bundle.
        experiments: of the folds, trained.
        weights: from `models.ensemble.joined`.
        rule: its post-processing.
        tables: scores by split: `out_of_fold` and, where there is one, `test`.
    """
    spec = bundle_of(experiments[0]).spec
    changed = {
        "members": len(experiments),
        "postprocessing": rule,
        "metrics": {f"{split}_{key}": value for split, table in tables.items() for key, value in values_of(table.overall).items()},
        "intervals": {f"{split}_{key}": ends for split, table in tables.items() for key, ends in intervals_of(table.overall).items()},
        "experiment": spec.experiment | {"fold": "all"},
        "files": {},
    }
    spec = BundleSpec.model_validate(spec.model_dump() | changed)
    return save_bundle(folder, spec, weights, make_golden(spec, weights, golden_image(spec)), model_card(spec, tables))


def fold_lines(folds: Mapping[str, ScoreTable]) -> list[tuple[str, ...]]:
    """A row for each fold or split, head first: cases and the main scores with intervals."""
    head = ("", "cases", "patients", *(NAMES[name] for name in SHOWN))
    rows = [
        (name, str(t.overall.cases), str(t.overall.patients), *(with_span(key, t.overall.scores.get(key)) for key in SHOWN))
        for name, t in folds.items()
    ]
    return [head, *rows]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, columns aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
