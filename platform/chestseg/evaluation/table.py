"""Evaluations as tables: a CSV row for each case, a JSON summary, and a few lines to read; of radiographs and of volumes."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.statistics import image_curves
from chestseg.evaluation.summary import ScoreTable
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.files import whole_file
from chestseg.intervals import Estimate
from chestseg.metrics import CaseScore, Summary
from chestseg.metrics_volume import VolumeScore

DIGITS = 6
HEADINGS = {
    "n": ("cases", 0),
    "n_positive": ("positive", 0),
    "mean_dice": ("mean Dice", 4),
    "all_empty": ("all empty", 4),
    "dice_positives": ("Dice positives", 4),
    "hd95_mm": ("HD95 mm", 1),
    "nsd": ("NSD", 4),
    "volume_error_ml": ("error ml", 1),
    "absolute_volume_error_ml": ("|error| ml", 1),
    "lesion_sensitivity": ("lesions found", 4),
    "false_lesions": ("false lesions", 1),
    "sensitivity": ("sensitivity", 4),
    "specificity": ("specificity", 4),
}
"""Of the columns to read, in their order, by field of a summary; with digits after the point."""


def write_cases(path: Path, rows: Sequence[CaseScore] | Sequence[VolumeScore], numbers: Sequence[str] = ()) -> None:
    """Write one CSV row a case: the fields of its score, with `positive` and `present` as 0 or 1; a cell is empty where there is no score.

    Args:
        path: the file. It names cases, so it stays where the data is.
        rows: of the cases. Without one there are no columns either.
        numbers: what each case is called in the report; no such column where there is none.
    """
    scores = [field.name for field in fields(rows[0])][2:] if rows else []
    columns = ("case_id", "source", "positive", *scores, "present") if rows else ()
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow((*columns, "number") if numbers else columns)
        for place, row in enumerate(rows):
            table.writerow([*(_cell(getattr(row, column)) for column in columns), *numbers[place : place + 1]])


def write_summary(path: Path, result: EvaluationResult | VolumeEvaluation, facts: dict[str, Any], scores: ScoreTable | None = None) -> None:
    """Write the summary as JSON, of radiographs with the points of their curves; null where there was nothing to average over.

    Args:
        path: the file.
        result: what was found.
        facts: what it was found with: split, model, dataset.
        scores: the same with intervals, and by subgroup.

    Raises:
        ValueError: a probability is not a number of 0..1.
    """
    content = facts | {field.name: getattr(result, field.name) for field in fields(result) if field.name != "rows"}
    content |= {"summary": asdict(result.summary), "by_source": {name: asdict(summary) for name, summary in result.by_source.items()}}
    if scores:
        content["scores"] = scores.content()
    if isinstance(result, EvaluationResult):
        content["curves"] = asdict(image_curves(result.rows))
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def format_table(result: EvaluationResult | VolumeEvaluation) -> str:
    """A line for all cases and, where there are several sources, one for each; a dash where there was nothing to average over.

    `all empty` is the mean Dice of predicting nothing; sensitivity is the share of positives given a mask, specificity that of
    negatives left empty.
    """
    several = result.by_source if len(result.by_source) > 1 else {}
    shown = {name: heading for name, heading in HEADINGS.items() if hasattr(result.summary, name)}
    rows = [("", *(heading for heading, _ in shown.values()))]
    rows += [_line(name, summary, shown) for name, summary in [("all", result.summary), *several.items()]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]) for row in rows)


def format_intervals(scores: ScoreTable) -> str:
    """A line a score of all cases with its 95 % interval, or why there is none; then what a reader must know."""
    found = scores.overall.scores
    width = max(map(len, found))
    lines = [f"{name.ljust(width)}  {in_words(estimate)}" for name, estimate in found.items()]
    return "\n".join([*lines, *(f"note: {warning}" for warning in scores.warnings)])


def in_words(estimate: Estimate, digits: int = 4) -> str:
    """A score, its interval in brackets, or why there is none."""
    if estimate.value is None:
        return f"- ({estimate.note})"
    value = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{value} ({estimate.note})"
    return f"{value} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _line(name: str, summary: Summary, shown: dict[str, tuple[str, int]]) -> tuple[str, ...]:
    values = ((getattr(summary, field), digits) for field, (_, digits) in shown.items())
    return (name, *("-" if value is None else f"{value:.{digits}f}" for value, digits in values))


def _cell(value: object) -> object:
    """Booleans as 0 and 1, floats at a fixed number of digits so that tables can be compared."""
    if isinstance(value, bool):
        return int(value)
    return round(value, DIGITS) if isinstance(value, float) else value
