"""What an ablation's page and table say of known courses and scores."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from chestseg.evaluation.ablation import Course, Found, Line, targets, times, write_ablation
from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.metrics import CaseScore
from tests.evaluation.prepared import COUNT, write_prepared
from tests.page.in_browser import PHONE, browser, look_at

ROWS = tuple(
    CaseScore(f"case-{n}", "a", 100 * (n % 3 > 0), 90 * (n % 3 > 0), 0.6 + 0.02 * n if n % 3 else 1.0, 0.5, 0.5) for n in range(COUNT)
)
COURSES = (
    Course("base", 0, (10.0, 20.0, 30.0), (0.2, 0.5, 0.7)),
    Course("base", 1, (10.0, 20.0, 30.0), (0.3, 0.6, 0.65)),
    Course("one-stage", 0, (20.0, 40.0), (0.4, 0.6)),
    Course("one-stage", 1, (20.0, 40.0), (0.1, 0.2)),
)


def found(reach: float | None = None) -> Found:
    worse = tuple(replace(row, dice=row.dice - 0.1) if row.positive else row for row in ROWS)
    lines = tuple(
        Line(name, EvaluationResult(rows, 128)) for name, rows in (("base", ROWS), ("base without SWA", worse), ("one-stage", ROWS))
    )
    return Found("small", lines, COURSES, {"base": "64 px x 2, 128 px x 1", "one-stage": "128 px x 2"}, reach, 200)


def test_time_to_what_all_trainings_of_a_fold_reached() -> None:
    assert targets(found()) == {0: 0.6, 1: 0.2}
    assert [course.time_to(0.6) for course in COURSES] == [30.0, 20.0, 40.0, None]
    base, one = times(found())
    assert base == ("base", "64 px x 2, 128 px x 1", "30 s", "20 s", "1.00")
    assert one == ("one-stage", "128 px x 2", "40 s", "40 s", f"{(40 / 30 + 40 / 10) / 2:.2f}")


def test_a_dice_that_not_all_reach_is_said() -> None:
    assert targets(found(0.65)) == {0: 0.65, 1: 0.65}
    assert [row[3:] for row in times(found(0.65))] == [("30 s", "1.00"), ("reached in 0 of 2 folds", "-")]


@pytest.mark.browser
def test_the_table_and_the_page(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    printed = write_ablation(found(), dataset, tmp_path / "out")
    with open(tmp_path / "out" / "ablation.csv", newline="") as file:
        head, base, without, one = csv.reader(file)
    assert head[-2:] == ["mean Dice, difference", "Dice on positives, difference"]
    assert base[-2:] == ["-", "-"] and one[-2:] == ["0.000", "0.000"] and without[-1] == "-0.100"
    assert "base without SWA" in printed
    page = (tmp_path / "out" / "ablation.html").read_text()
    assert "Time to the same Dice" in page and "0.600 in fold 0" in page and "case-" not in page
    with browser() as chromium:
        look = look_at(chromium, tmp_path / "out" / "ablation.html", PHONE)
    assert look.width <= PHONE and all(look.images) and not look.requests and not look.complaints


def test_without_validations_there_is_no_time_to_tell(tmp_path: Path) -> None:
    told = replace(found(), courses=(), notes=("one-stage: with the first stage's rate.",))
    write_ablation(told, write_prepared(tmp_path / "prepared"), tmp_path / "out")
    page = (tmp_path / "out" / "ablation.html").read_text()
    assert "No training was validated before its end: set validate_every." in page
    assert "one-stage: with the first stage" in page
