"""The scores of an evaluation in a form that can be resampled, and the curves of its probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chestseg.evaluation.agreement import ANY, DEVIATIONS, Limit
from chestseg.intervals import Estimate, Ratio, Statistic, mean_of
from chestseg.metrics import CaseScore
from chestseg.metrics_image import (
    Auc,
    ReliabilityBin,
    Roc,
    brier_score,
    checked,
    expected_calibration_error,
    reliability_curve,
    roc_curve,
)
from chestseg.metrics_volume import VolumeScore

Rows = Sequence[CaseScore] | Sequence[VolumeScore]


@dataclass(frozen=True)
class ImageCurves:
    """What radiographs' probabilities of disease are worth, to draw; `auc`, `brier` and `ece` are in the `ScoreTable`, too."""

    roc: Roc | None
    """None with one class only."""
    reliability: tuple[ReliabilityBin, ...]
    calibration_error: float | None


def image_curves(rows: Sequence[CaseScore]) -> ImageCurves:
    """ROC and reliability of radiographs' probabilities.

    Raises:
        ValueError: a probability is not a number of 0..1.
    """
    probabilities = _probabilities(rows)
    positive = np.array([row.positive for row in rows], bool)
    curve = reliability_curve(probabilities, positive)
    return ImageCurves(roc_curve(probabilities, positive), curve, expected_calibration_error(curve))


def score_statistics(rows: Rows) -> dict[str, Statistic]:
    """The scores of `Summary` or `VolumeSummary` in a form that can be resampled; the same numbers, which a test holds."""
    dice, positive, present = (np.array([getattr(row, name) for row in rows], float) for name in ("dice", "positive", "present"))
    positives, negatives, everyone = positive > 0, positive == 0, np.ones(len(rows), bool)
    shared: dict[str, Statistic] = {
        "mean_dice": mean_of(dice, everyone, "cases"),
        "all_empty": mean_of(1 - positive, everyone, "cases"),
        "dice_positives": mean_of(dice, positives, "positives"),
        "sensitivity": mean_of(present, positives, "positives"),
        "specificity": mean_of(1 - present, negatives, "negatives"),
    }
    volumes = [row for row in rows if isinstance(row, VolumeScore)]
    if volumes:
        return shared | _volume_statistics(volumes, positives)
    probabilities = _probabilities([row for row in rows if isinstance(row, CaseScore)])
    return shared | {"auc": Auc(probabilities, positives), "brier": brier_score(probabilities, positives)}


def spread_statistics(rows: Rows) -> dict[str, Statistic]:
    """Of volumes the limits of agreement (Bland and Altman 1986) around `volume_error_ml`, which is their bias.

    They say where most cases lie and have no better and worse, so two models are not compared by them.
    """
    errors = np.array([row.volume_error_ml for row in rows if isinstance(row, VolumeScore)], float)
    if not len(errors):
        return {}
    return {"volume_lower_limit_ml": Limit(errors, -DEVIATIONS), "volume_upper_limit_ml": Limit(errors, DEVIATIONS)}


def calibration(rows: Rows, patients: int) -> dict[str, Estimate]:
    """Of radiographs the expected calibration error, as `ece`: a value without an interval, see `expected_calibration_error`.

    Raises:
        ValueError: a probability is not a number of 0..1.
    """
    radiographs = [row for row in rows if isinstance(row, CaseScore)]
    if not radiographs:
        return {}
    error = image_curves(radiographs).calibration_error
    return {"ece": Estimate(error, None, None, len(radiographs), patients, "no interval: chance alone makes it greater than 0")}


def _volume_statistics(rows: Sequence[VolumeScore], positives: np.ndarray) -> dict[str, Statistic]:
    def column(value: Callable[[VolumeScore], float | None]) -> np.ndarray:
        return np.array([value(row) for row in rows], float)  # None becomes NaN

    everyone, lengths = np.ones(len(rows), bool), (0.0, np.inf)
    hd95, nsd, error = column(lambda row: row.hd95_mm), column(lambda row: row.nsd), column(lambda row: row.volume_error_ml)
    return {
        "iou_positives": mean_of(column(lambda row: row.iou), positives, "positives"),
        "hd95_mm": mean_of(hd95, ~np.isnan(hd95), "cases with both masks", lengths),
        "nsd": mean_of(nsd, ~np.isnan(nsd), "cases with either mask"),
        "volume_error_ml": mean_of(error, everyone, "cases", ANY),
        "absolute_volume_error_ml": mean_of(np.abs(error), everyone, "cases", lengths),
        "lesion_sensitivity": Ratio(column(lambda row: row.lesions_found), column(lambda row: row.lesions), "cases with lesions"),
        "false_lesions": mean_of(column(lambda row: row.false_lesions), everyone, "cases", lengths),
    }


def _probabilities(rows: Sequence[CaseScore]) -> np.ndarray:
    return checked([row.probability for row in rows], [row.case_id for row in rows])
