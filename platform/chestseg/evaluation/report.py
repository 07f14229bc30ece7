"""The report of an evaluation: one page with scores and intervals, curves, subgroups, cases to look at, and what it was made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chestseg import __version__
from chestseg.bundle import WEIGHTS, Bundle
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.agreement import volume_agreement
from chestseg.evaluation.charts import draw_agreement, draw_groups, draw_reliability, draw_roc, draw_sizes
from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.report_cases import Shows, cases_section
from chestseg.evaluation.statistics import image_curves, score_statistics
from chestseg.evaluation.subgroups import case_facts
from chestseg.evaluation.summary import EVERYONE, Evaluation, GroupScores, ScoreTable
from chestseg.evaluation.words import LIMITS, NAMES, nothing_predicted, number, span, with_span
from chestseg.intervals import Estimate
from chestseg.page import Block, Figure, Heading, Note, Page, Paragraph, Table, write_page
from chestseg.tracking.provenance import code_version, git_commit

REPORT = "report.html"
LEAST_DRAWN = 2
"""Positive cases that a chart of lesion sizes is drawn of."""


@dataclass(frozen=True)
class Evaluated:
    """A bundle on a split, scored: what a report tells of."""

    bundle: Bundle
    dataset: PreparedDataset
    split: str
    indices: np.ndarray
    """Of the cases, in the order of `result.rows`."""
    result: Evaluation
    scores: ScoreTable
    notes: tuple[str, ...] = ()
    """What a reader must know beyond the scores' own warnings."""


def write_report(evaluated: Evaluated, shows: Shows, folder: Path) -> Path:
    """Write `report.html` and, in `cases/`, its pictures as PNG. Nothing in it names a patient, a study or an image.

    Args:
        evaluated: what was found.
        shows: image and masks of a case, by its index in the dataset.
        folder: where both go, beside `cases.csv`, which alone says which case a number is.

    Returns:
        The page's file.
    """
    blocks: list[Block] = [Note(note) for note in (*evaluated.notes, *evaluated.scores.warnings)]
    blocks += [*_scores(evaluated), *_presence(evaluated), *_volumes(evaluated), *_subgroups(evaluated)]
    blocks += [*cases_section(evaluated.result, evaluated.dataset, evaluated.indices, shows, folder), *_origin(evaluated)]
    title = f"{evaluated.bundle.spec.name} on {split_in_words(evaluated.split)}"
    write_page(
        Page(title, _in_short(evaluated), blocks, f"chestseg {__version__}. Research use only: not a medical device."), folder / REPORT
    )
    return folder / REPORT


def split_in_words(split: str) -> str:
    """A split's name as it is read."""
    known = {
        "test": "the test split",
        "out_of_fold": "its training cases, out of fold",
        "validation": "the held-out fold",
        "train": "its training cases",
        "all": "all cases",
    }
    return known.get(split, f"fold {split}")


def _in_short(evaluated: Evaluated) -> str:
    overall = evaluated.scores.overall
    found, nothing = overall.scores["mean_dice"], overall.scores["all_empty"]
    interval = f" (95 % interval {span('mean_dice', found)})" if found.low is not None else ""
    return (
        f"Mean Dice {number('mean_dice', found.value)}{interval} over {overall.cases} cases of {overall.patients} patients, "
        f"{overall.positives} of them with a lesion. Predicting nothing scores {number('mean_dice', nothing.value)}."
    )


def _scores(evaluated: Evaluated) -> list[Block]:
    empty = score_statistics(nothing_predicted(evaluated.result).rows)
    rows = []
    for name, estimate in evaluated.scores.overall.scores.items():
        if name in NAMES and name not in LIMITS:  # these stand by the plot they are drawn in
            without = _without(name, empty[name]) if name in empty else "-"
            rows.append((NAMES[name], number(name, estimate.value), span(name, estimate), without, _over(estimate)))
    caption = (
        f"{evaluated.result.compared[0].upper()}{evaluated.result.compared[1:]}. Intervals: 95 %, bootstrap over patients, "
        f"{evaluated.scores.resamples} resamples. Two empty masks agree (Dice 1); a mask where there is no lesion, or none where there is "
        "one, scores 0. Sensitivity and specificity ask only whether there is a mask."
    )
    columns = ["score", "this model", "95 % interval", "predicting nothing", "computed from"]
    blocks: list[Block] = [Heading("Scores"), Table(columns, rows, caption)]
    if sum(row.positive for row in evaluated.result.rows) >= LEAST_DRAWN:
        alt = "Dice of each positive case against the size of its lesion"
        blocks.append(Figure(draw_sizes(evaluated.result.rows), alt, "Each mark is a positive case.", chart=True))
    return blocks


def _without(name: str, statistic: Any) -> str:
    value = statistic.estimate(np.ones((1, len(next(iter(statistic.parts.values()))))))[0]
    return number(name, None if np.isnan(value) else float(value))


def _over(estimate: Estimate) -> str:
    return estimate.note or f"{estimate.cases} cases, {estimate.patients} patients"


def _presence(evaluated: Evaluated) -> list[Block]:
    """Of radiographs: whether there is anything at all, and what the probability is worth."""
    result = evaluated.result
    if not isinstance(result, EvaluationResult) or not result.rows:
        return []
    curves, scores = image_curves(result.rows), evaluated.scores.overall.scores
    blocks: list[Block] = [Heading("Is there a lesion?")]
    if curves.roc is None:
        blocks.append(Note("All cases are of one class, so there is no ROC curve, no AUC, and calibration says little."))
    else:
        caption = (
            f"AUC {with_span('auc', scores['auc'])}. The line moves a threshold over the probability of disease; the mark is what "
            "the masks do, after post-processing."
        )
        picture = draw_roc(curves.roc, scores["sensitivity"].value, scores["specificity"].value)
        blocks.append(Figure(picture, "ROC curve", caption, chart=True))
    caption = (
        f"Calibration: on the dotted line, of images with a probability of 0.7 seven in ten have a lesion. Expected calibration error "
        f"{number('ece', curves.calibration_error)} over 15 bins, Brier score {with_span('brier', scores['brier'])}. The probability is "
        "the empty-mask head's where the network has one, else the highest of the map, which nobody taught to be calibrated."
    )
    return [*blocks, Figure(draw_reliability(curves), "reliability curve", caption, chart=True)]


def _volumes(evaluated: Evaluated) -> list[Block]:
    """Of volumes: how far predicted and true millilitres agree."""
    result = evaluated.result
    if isinstance(result, EvaluationResult) or not result.rows:
        return []
    facts = case_facts(evaluated.dataset, [row.case_id for row in result.rows])
    agreement = volume_agreement(result.rows, facts.patients)
    named = {"bias": agreement.bias, "lower limit": agreement.lower, "upper limit": agreement.upper}
    rows = [(name, number("volume_error_ml", e.value), span("volume_error_ml", e)) for name, e in named.items()]
    caption = "Bland and Altman's plot: the mean difference, and the limits between which 95 % of differences lie if they are normal."
    return [
        Heading("Agreement of volumes"),
        Figure(draw_agreement(agreement), "difference of volumes against their mean", caption, chart=True),
        Table(["predicted - true", "ml", "95 % interval"], rows),
    ]


def _subgroups(evaluated: Evaluated) -> list[Block]:
    groups = evaluated.scores.groups
    if len(groups) == 1:
        return []
    metric = "dice_positives" if any(group.positives for group in groups) else "mean_dice"
    picture = draw_groups(groups, metric)
    blocks: list[Block] = [
        Heading("Subgroups"),
        Paragraph(
            "By what the files say of a case. Many groups are compared here, and one in twenty intervals misses by chance: a difference "
            "between groups is a question to ask of more data, not an answer."
        ),
        Figure(
            picture, f"{NAMES[metric]} of each group", "In brackets the cases of each group. Hollow: too few for an interval.", chart=True
        ),
    ]
    columns = ["group", "cases", "patients", "positive", "mean Dice", "Dice on positives", "sensitivity", "specificity"]
    return [*blocks, Table(columns, [_group(group) for group in groups], "In brackets the 95 % interval.")]


def _group(group: GroupScores) -> tuple[str, ...]:
    name = "all cases" if group.by == EVERYONE else f"{group.by}: {group.group}"
    cells = (with_span(key, group.scores.get(key)) for key in ("mean_dice", "dice_positives", "sensitivity", "specificity"))
    return (name, str(group.cases), str(group.patients), str(group.positives), *cells)


def _origin(evaluated: Evaluated) -> list[Block]:
    bundle, dataset = evaluated.bundle, evaluated.dataset
    spec = bundle.spec
    rule = ", ".join(f"{key} {value}" for key, value in spec.postprocessing.model_dump().items() if value is not None)
    chosen = spec.experiment.get("choose")
    facts = [
        ("model", spec.name),
        ("bundle (SHA-256)", bundle.digest),
        ("weights (SHA-256)", spec.files[WEIGHTS]),
        ("network", f"{spec.model.architecture}, {spec.model.encoder}" + (f", {spec.members} members" if spec.members > 1 else "")),
        ("held-out fold in training", str(spec.experiment.get("fold", "not stated"))),
        ("post-processing", rule),
        ("chosen by", f"{chosen['name']} on held-out cases" if chosen else "the experiment's configuration"),
        ("trained by", f"chestseg {spec.code_version}"),
        ("evaluated by", f"chestseg {code_version()}" + (f", commit {commit}" if (commit := git_commit()) else "")),
        ("dataset evaluated", dataset.hash),
        ("dataset trained on", spec.dataset_hash),
        ("split", f"{evaluated.split}: {len(evaluated.result.rows)} cases"),
    ]
    return [Heading("What was evaluated"), Table(["", "value"], facts)]
