"""What scores are called where people read them, and what they would be if nothing were predicted."""

from dataclasses import replace

from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.summary import Evaluation
from chestseg.intervals import Estimate
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore

NAMES = {
    "mean_dice": "mean Dice",
    "dice_positives": "Dice on positives",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auc": "AUC",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "iou_positives": "IoU on positives",
    "hd95_mm": "HD95 (mm)",
    "nsd": "NSD",
    "volume_error_ml": "volume error (ml)",
    "volume_lower_limit_ml": "lower limit of agreement (ml)",
    "volume_upper_limit_ml": "upper limit of agreement (ml)",
    "absolute_volume_error_ml": "absolute volume error (ml)",
    "lesion_sensitivity": "lesions found",
    "false_lesions": "false lesions per case",
}
"""Of scores that are shown, in this order; `ece` alone has no interval."""
LIMITS = ("volume_lower_limit_ml", "volume_upper_limit_ml")
"""Of agreement, around the volume error."""
DIGITS = {"hd95_mm": 1, "volume_error_ml": 1, **dict.fromkeys(LIMITS, 1), "absolute_volume_error_ml": 1, "false_lesions": 2}
"""After the point; 3 for others."""


def number(name: str, value: float | None) -> str:
    """A score's value as it is read; a dash where there is none."""
    return "-" if value is None else f"{value:.{DIGITS.get(name, 3)}f}"


def span(name: str, estimate: Estimate) -> str:
    """Its 95 % interval; a dash where there is none."""
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{number(name, estimate.low)} to {number(name, estimate.high)}"


def with_span(name: str, estimate: Estimate | None) -> str:
    """Value and interval in one cell; a dash where there is none."""
    if estimate is None or estimate.value is None:
        return "-"
    return number(name, estimate.value) + (f" ({span(name, estimate)})" if estimate.low is not None else "")


def nothing_predicted(result: Evaluation) -> Evaluation:
    """The same cases with every mask left empty and no probability of disease: what a model has to beat."""
    if isinstance(result, EvaluationResult):
        return replace(result, rows=tuple([_empty_radiograph(row) for row in result.rows]))
    return replace(result, rows=tuple([_empty_volume(row) for row in result.rows]))


def _empty_radiograph(row: CaseScore) -> CaseScore:
    agrees = float(not row.positive)
    return replace(row, predicted_px=0, dice=agrees, iou=agrees, probability=0.0)


def _empty_volume(row: VolumeScore) -> VolumeScore:
    agrees = float(not row.positive)
    surface = 0.0 if row.positive else None
    nothing = {"predicted_ml": 0.0, "lesions_found": 0, "false_lesions": 0, "hd95_mm": None}
    return replace(row, volume_error_ml=-row.truth_ml, dice=agrees, iou=agrees, nsd=surface, **nothing)  # type: ignore[arg-type]
