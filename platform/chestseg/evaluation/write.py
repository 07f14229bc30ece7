"""What an evaluation leaves: a table of cases that stays with the data, and a summary with intervals that may travel."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.subgroups import case_facts
from chestseg.evaluation.summary import Evaluation, GroupScores, ScoreTable, summarise_groups
from chestseg.evaluation.table import write_cases, write_summary

CASES, SUMMARY = "cases.csv", "summary.json"
DIGITS = 8
"""Hexadecimal, of a case's number."""


def write_evaluation(folder: Path, result: Evaluation, dataset: PreparedDataset, facts: dict[str, Any]) -> ScoreTable:
    """Write `cases.csv`, which alone has identifiers, and `summary.json`, and return the scores with intervals.

    Args:
        folder: where both go.
        result: of cases of `dataset`.
        dataset: what was evaluated.
        facts: what it was evaluated with, for the summary.

    Raises:
        ValueError: a probability is not a number of 0..1.
    """
    case_ids = [row.case_id for row in result.rows]
    scores = summarise_groups(result, case_facts(dataset, case_ids))
    write_cases(folder / CASES, result.rows, case_numbers(dataset, case_ids))
    write_summary(folder / SUMMARY, result, facts, scores)
    return scores


def case_numbers(dataset: PreparedDataset, case_ids: Sequence[str]) -> list[str]:
    """What cases are called outside: a hash over identifier and pixels, which nobody can compute who has not the image itself."""
    places = {case_id: place for place, case_id in enumerate(dataset.case_ids)}
    pixels = dataset.table["pixel_hash"].take([places[case_id] for case_id in case_ids]).to_pylist()
    named = zip(case_ids, pixels, strict=True)
    return [hashlib.sha256(f"{case_id} {pixel_hash}".encode()).hexdigest()[:DIGITS] for case_id, pixel_hash in named]


def values_of(group: GroupScores) -> dict[str, float]:
    """The scores there are, by name."""
    return {name: estimate.value for name, estimate in group.scores.items() if estimate.value is not None}


def intervals_of(group: GroupScores) -> dict[str, tuple[float, float]]:
    """The ends of the intervals there are, by name."""
    return {
        name: (estimate.low, estimate.high)
        for name, estimate in group.scores.items()
        if estimate.low is not None and estimate.high is not None
    }
