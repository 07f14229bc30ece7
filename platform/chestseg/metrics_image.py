"""How well probabilities of disease tell images with a lesion from those without: ROC, calibration, Brier score.

Probabilities are (n,) of 0..1, `positive` (n,) bool says whether the true mask holds a pixel. With one class only there is no ROC: None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chestseg.intervals import Ratio, divided

BINS = 15
"""Of equal width, for the reliability curve and ECE (Guo et al. 2017, On Calibration of Modern Neural Networks)."""


def checked(probabilities: Sequence[float] | np.ndarray, case_ids: Sequence[str]) -> np.ndarray:
    """The probabilities as float64 (n,).

    Raises:
        ValueError: one is not a number of 0..1; names the first such case.
    """
    values = np.asarray(probabilities, float)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise ValueError(
            f"{case_ids[wrong[0]]}: its probability is {values[wrong[0]]}, not 0 to 1 (so are {len(wrong)} of {len(values)}): "
            "the weights hold NaN or the scores were damaged; train or evaluate again"
        )
    return values


@dataclass(frozen=True)
class Roc:
    """The points of an ROC curve, from (0, 0) to (1, 1); those on a straight line between others are left out."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    threshold: tuple[float | None, ...]
    """Least probability that counts as positive; None at (0, 0), where none does."""


def roc_curve(probabilities: np.ndarray, positive: np.ndarray) -> Roc | None:
    """The curve as scikit-learn draws it; None with one class only."""
    if not (positive.any() and not positive.all()):
        return None
    from sklearn import metrics  # half a second, for the one job among many that draws curves

    false_rate, true_rate, threshold = metrics.roc_curve(positive, probabilities)
    return Roc(tuple(false_rate.tolist()), tuple(true_rate.tolist()), (None, *threshold[1:].tolist()))


@dataclass(frozen=True, eq=False)
class Auc:
    """Area under the ROC curve: the chance that a positive has the higher probability, ties counting half (Hanley and McNeil 1982).

    scikit-learn's `roc_auc_score` is the same for one set of cases; this is a `chestseg.intervals.Statistic`, for all resamples at once.
    """

    probabilities: np.ndarray
    positive: np.ndarray
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def parts(self) -> Mapping[str, np.ndarray]:
        """Positives and negatives."""
        return {"positives": self.positive, "negatives": ~self.positive}

    def estimate(self, weights: np.ndarray) -> np.ndarray:
        """Areas (R,) for weights (R, n) of the cases."""
        positives, negatives = (self._by_level(weights * mask) for mask in self.parts.values())
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return divided((positives * below).sum(1), positives.sum(1) * negatives.sum(1))

    def influence(self) -> np.ndarray:
        """By the share of the other class on the right side of each case (DeLong et al. 1988)."""
        positives, negatives = (self._by_level(mask[None].astype(float))[0] for mask in self.parts.values())
        below = (np.cumsum(negatives) - negatives / 2) / negatives.sum()
        above = (positives[::-1].cumsum()[::-1] - positives / 2) / positives.sum()
        area = (positives * below).sum() / positives.sum()
        level = self._levels[0]
        return np.where(self.positive, (below[level] - area) / positives.sum(), (above[level] - area) / negatives.sum())

    @cached_property
    def _levels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Level of each case among the distinct probabilities, the cases in their order, and where each level starts in it."""
        _, level, counts = np.unique(self.probabilities, return_inverse=True, return_counts=True)
        return level, np.argsort(level, kind="stable"), np.cumsum(counts) - counts

    def _by_level(self, weights: np.ndarray) -> np.ndarray:
        """Sums (R, levels) of weights (R, n)."""
        _, order, starts = self._levels
        return np.add.reduceat(weights[:, order], starts, axis=1)


def brier_score(probabilities: np.ndarray, positive: np.ndarray) -> Ratio:
    """Mean squared distance of the probability from 0 or 1 (Brier 1950): as scikit-learn's `brier_score_loss`."""
    return Ratio((probabilities - positive) ** 2, np.ones(len(positive)))


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose probability lies in (low, high]; the first bin has 0 too."""

    low: float
    high: float
    cases: int
    probability: float
    """Mean of what was said."""
    positives: float
    """Share of what was true."""


def reliability_curve(probabilities: np.ndarray, positive: np.ndarray, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins of equal width as of scikit-learn's `calibration_curve`, those without an image left out."""
    edges = np.linspace(0, 1, bins + 1)
    place = np.maximum(np.searchsorted(edges, probabilities), 1) - 1
    sums = (np.bincount(place, values, bins) for values in (np.ones(len(place)), probabilities, positive))
    return tuple(
        ReliabilityBin(float(low), float(high), int(cases), float(said / cases), float(true / cases))
        for low, high, cases, said, true in zip(edges, edges[1:], *sums, strict=False)
        if cases
    )


def expected_calibration_error(curve: Sequence[ReliabilityBin]) -> float | None:
    """Mean over images of their bin's |probability - positives| (Naeini et al. 2015).

    As torchmetrics' `binary_calibration_error`, but for probabilities on an edge of two bins, which it counts to the upper one.
    Chance alone makes it greater than 0, the more the fewer images, and a bootstrap would add to it once more: it has no interval.
    None without images.
    """
    total = sum(found.cases for found in curve)
    return sum(found.cases * abs(found.probability - found.positives) for found in curve) / total if total else None
