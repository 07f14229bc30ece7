"""The cases of a report: failures first, then the median and the best, called by numbers that lead nowhere without the local table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.pictures import Shown, panels, write_png
from chestseg.evaluation.summary import Evaluation
from chestseg.evaluation.write import case_numbers
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore
from chestseg.page import Block, Figure, Heading, Paragraph

FOLDER = "cases"
"""Of the pictures, beside the report."""
Shows = Callable[[int], Shown]
FAILURES, OTHERS = 6, 3
"""Cases shown of a kind, at most."""


def cases_section(result: Evaluation, dataset: PreparedDataset, indices: np.ndarray, shows: Shows, folder: Path) -> list[Block]:
    """Pictures of the worst, the median and the best cases, and what was found in each; written as PNG to `cases/`, too.

    Args:
        result: of the cases.
        dataset: where they are.
        indices: of the cases in the dataset, in the order of `result.rows`.
        shows: image and masks of a case, by its index in the dataset.
        folder: of the report.
    """
    numbers = case_numbers(dataset, [row.case_id for row in result.rows])
    blocks: list[Block] = [
        Heading("Cases"),
        Paragraph(
            "Of each case: left the true mask (blue outline), in the middle the predicted one (orange), right both. The worst come first, "
            "masks on healthy cases among them; the median and the best are of positive cases. Numbers are hashes: cases.csv, which stays "
            "beside the data, says whose they are. Of a volume the slice with the most of the lesion is shown."
        ),
    ]
    seen: set[int] = set()
    for title, places in chosen_cases(result.rows).items():
        for place in places:
            if place in seen:
                continue
            seen.add(place)
            row, name = result.rows[place], numbers[place]
            picture = write_png(folder / FOLDER / f"{name}.png", panels(*shows(int(indices[place]))))
            words = f"{title}: {in_words(row)}"
            blocks.append(Figure(picture, f"case {name}: truth, prediction, both", f"Case {name}. {words}", wide=True))
    return blocks


def chosen_cases(rows: Sequence[Any]) -> dict[str, list[int]]:
    """Places of the cases to show, by what they are: the worst of all, then of the positives the middle and the top."""
    ranked = sorted(range(len(rows)), key=lambda place: (rows[place].dice, -_size(rows[place]), place))
    positives = [place for place in ranked if rows[place].positive]
    middle = max(0, (len(positives) - OTHERS) // 2)
    failures = [place for place in ranked if rows[place].dice < 1]
    return {"Worst": failures[:FAILURES], "Median": positives[middle : middle + OTHERS], "Best": positives[::-1][:OTHERS]}


def in_words(row: CaseScore | VolumeScore) -> str:
    """What was found in a case, and what was there."""
    if isinstance(row, VolumeScore):
        true, found, more = f"{row.truth_ml:.1f} ml", f"{row.predicted_ml:.1f} ml", ""
    else:
        true, found = f"{row.truth_px:,} px", f"{row.predicted_px:,} px"
        more = f", probability of disease {row.probability:.2f}"
    what = (
        "left empty" if row.positive and not row.present else "a mask where there is no lesion" if row.present and not row.positive else ""
    )
    return f"Dice {row.dice:.3f}" + (f", {what}" if what else "") + f"; true {true}, predicted {found}{more}."


def _size(row: CaseScore | VolumeScore) -> float:
    """Of what is at stake: true and predicted lesion."""
    return row.truth_ml + row.predicted_ml if isinstance(row, VolumeScore) else row.truth_px + row.predicted_px
