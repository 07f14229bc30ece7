"""How well masks agree: per case, and over a split as the SIIM-ACR challenge scores it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient 2|X∩Y| / (|X|+|Y|) of two masks of one shape, 0..1.

    The challenge's rule for empty masks: 1 when both are empty, 0 when only one is (SIIM-ACR Pneumothorax 2019, evaluation).
    """
    overlap, total = _overlap(prediction, truth)
    return 2 * overlap / total if total else 1.0


def iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks of one shape, 0..1, with the same rule for empty masks as `dice`."""
    overlap, total = _overlap(prediction, truth)
    return overlap / (total - overlap) if total else 1.0


@dataclass(frozen=True)
class CaseScore:
    """One case's row in the table of an evaluation; areas in pixels of the size at which masks were compared."""

    case_id: str
    source: str
    truth_px: int
    predicted_px: int
    dice: float
    iou: float
    probability: float
    """Probability of disease, 0..1."""

    @property
    def positive(self) -> bool:
        """Whether the true mask holds a pixel."""
        return self.truth_px > 0

    @property
    def present(self) -> bool:
        """Whether the predicted mask holds a pixel."""
        return self.predicted_px > 0


def score_case(case_id: str, source: str, prediction: np.ndarray, truth: np.ndarray, probability: float) -> CaseScore:
    """Compare two masks (H, W) of one shape; any value but 0 is foreground."""
    return CaseScore(
        case_id=case_id,
        source=source,
        truth_px=int(np.count_nonzero(truth)),
        predicted_px=int(np.count_nonzero(prediction)),
        dice=dice(prediction, truth),
        iou=iou(prediction, truth),
        probability=probability,
    )


@dataclass(frozen=True)
class Summary:
    """A split in a few numbers, each 0..1. What there is nothing to average over is None, never 0."""

    n: int
    n_positive: int
    mean_dice: float | None
    """The challenge's score: mean over all cases. None without cases."""
    dice_positives: float | None
    """Mean over cases with a true mask, those left empty included. None without positives."""
    sensitivity: float | None
    """Share of positives given a mask, wherever it lies. None without positives."""
    specificity: float | None
    """Share of negatives left empty. None without negatives."""
    all_empty: float | None
    """`mean_dice` of predicting nothing at all, the number to beat: the share of negatives. None without cases."""

    def metrics(self) -> dict[str, float]:
        """The numbers there are, by name: for a bundle or a tracked run, neither of which knows None."""
        return {name: float(value) for name, value in asdict(self).items() if value is not None}


def summarise(rows: Sequence[CaseScore]) -> Summary:
    """The summary of a split's rows."""
    positives = [row for row in rows if row.positive]
    negatives = [row for row in rows if not row.positive]
    return Summary(
        n=len(rows),
        n_positive=len(positives),
        mean_dice=_mean([row.dice for row in rows]),
        dice_positives=_mean([row.dice for row in positives]),
        sensitivity=_mean([row.present for row in positives]),
        specificity=_mean([not row.present for row in negatives]),
        all_empty=_mean([not row.positive for row in rows]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _overlap(prediction: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """|X∩Y| and |X|+|Y|."""
    assert prediction.shape == truth.shape, (prediction.shape, truth.shape)
    overlap = np.count_nonzero(np.logical_and(prediction, truth))
    return int(overlap), int(np.count_nonzero(prediction) + np.count_nonzero(truth))
