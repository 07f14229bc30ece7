"""Evaluations as tables: a CSV row for each case, a JSON summary, and a few lines to read."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.files import whole_file
from chestseg.metrics import CaseScore, Summary

COLUMNS = ("case_id", "source", "positive", "truth_px", "predicted_px", "dice", "iou", "probability", "present")
DIGITS = 6
HEADINGS = ("cases", "positive", "mean Dice", "all empty", "Dice positives", "sensitivity", "specificity")


def write_cases(path: Path, rows: Sequence[CaseScore]) -> None:
    """Write one CSV row a case; `positive` and `present` are 0 or 1, areas are pixels of the compared size."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows([_cell(getattr(row, column)) for column in COLUMNS] for row in rows)


def write_summary(path: Path, result: EvaluationResult, facts: dict[str, Any]) -> None:
    """Write the summary as JSON; null where there was nothing to average over.

    Args:
        path: the file.
        result: what was found.
        facts: what it was found with: split, model, dataset.
    """
    content = facts | {
        "size": result.size,
        "summary": asdict(result.summary),
        "by_source": {name: asdict(summary) for name, summary in result.by_source.items()},
    }
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def format_table(result: EvaluationResult) -> str:
    """A line for all cases and, where there are several sources, one for each; a dash where there was nothing to average over.

    `all empty` is the mean Dice of predicting nothing; sensitivity is the share of positives given a mask, specificity that of
    negatives left empty.
    """
    several = result.by_source if len(result.by_source) > 1 else {}
    rows = [("", *HEADINGS)] + [_line(name, summary) for name, summary in [("all", result.summary), *several.items()]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]) for row in rows)


def _line(name: str, summary: Summary) -> tuple[str, ...]:
    scores = (summary.mean_dice, summary.all_empty, summary.dice_positives, summary.sensitivity, summary.specificity)
    return (name, str(summary.n), str(summary.n_positive), *("-" if score is None else f"{score:.4f}" for score in scores))


def _cell(value: object) -> object:
    """Booleans as 0 and 1, floats at a fixed number of digits so that tables can be compared."""
    if isinstance(value, bool):
        return int(value)
    return round(value, DIGITS) if isinstance(value, float) else value
