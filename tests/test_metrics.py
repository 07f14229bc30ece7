"""Scores of masks against hand-counted ones, and summaries that never turn 'nothing to average' into 0."""

import numpy as np
import pytest

from chestseg.metrics import CaseScore, Summary, dice, iou, score_case, summarise


def mask(*pixels: int) -> np.ndarray:
    flat = np.zeros(16, np.uint8)
    flat[list(pixels)] = 1
    return flat.reshape(4, 4)


def row(truth_px: int, predicted_px: int, score: float) -> CaseScore:
    return CaseScore("case", "siim", truth_px, predicted_px, score, score, 0.5)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected_dice", "expected_iou"),
    [
        (mask(0, 1), mask(1, 2, 3), 2 / 5, 1 / 4),
        (mask(5), mask(5), 1.0, 1.0),
        (mask(5), mask(6), 0.0, 0.0),
        (mask(), mask(), 1.0, 1.0),
        (mask(), mask(3), 0.0, 0.0),
        (mask(3), mask(), 0.0, 0.0),
    ],
)
def test_scores_of_a_case(prediction: np.ndarray, truth: np.ndarray, expected_dice: float, expected_iou: float) -> None:
    assert dice(prediction, truth) == pytest.approx(expected_dice)
    assert iou(prediction, truth) == pytest.approx(expected_iou)


def test_any_value_but_zero_is_foreground() -> None:
    assert dice(mask(1, 2) * 255, mask(1, 2)) == 1.0


def test_masks_of_a_kaggle_sized_image_do_not_overflow() -> None:
    full = np.ones((1024, 1024), np.uint8)
    assert dice(full, full) == 1.0


def test_row_says_what_was_there_and_what_was_found() -> None:
    found = score_case("a", "siim", mask(1), mask(1, 2, 3), 0.25)
    assert (found.truth_px, found.predicted_px, found.positive, found.present, found.probability) == (3, 1, True, True, 0.25)


def test_summary_of_a_mixed_split() -> None:
    rows = [row(10, 8, 0.6), row(10, 0, 0.0), row(0, 0, 1.0), row(0, 0, 1.0), row(0, 5, 0.0)]
    assert summarise(rows) == Summary(
        n=5,
        n_positive=2,
        mean_dice=pytest.approx(2.6 / 5),
        dice_positives=pytest.approx(0.3),
        sensitivity=0.5,
        specificity=pytest.approx(2 / 3),
        all_empty=0.6,
    )


def test_predicting_nothing_scores_all_empty() -> None:
    summary = summarise([row(10, 0, 0.0), row(0, 0, 1.0), row(0, 0, 1.0)])
    assert summary.mean_dice == summary.all_empty


def test_nothing_to_average_over_is_none_and_no_metric() -> None:
    only_negatives = summarise([row(0, 0, 1.0)])
    assert only_negatives.dice_positives is None and only_negatives.sensitivity is None
    assert set(only_negatives.metrics()) == {"n", "n_positive", "mean_dice", "specificity", "all_empty"}
    only_positives = summarise([row(4, 4, 1.0)])
    assert only_positives.specificity is None and only_positives.all_empty == 0.0
    assert summarise([]).metrics() == {"n": 0.0, "n_positive": 0.0}
