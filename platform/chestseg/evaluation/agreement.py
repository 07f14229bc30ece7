"""Agreement of predicted with true volumes of lesions: Bland and Altman 1986 (Lancet 327:307), intervals over patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chestseg.intervals import Estimate, divided, intervals, mean_of
from chestseg.metrics_volume import VolumeScore

DEVIATIONS = 1.96
"""Between the limits lie 95 % of the cases, were differences normally distributed."""
ANY = (-np.inf, np.inf)


@dataclass(frozen=True)
class VolumeAgreement:
    """Predicted less true volume, and where it lies for most cases; in ml."""

    bias: Estimate
    """Mean difference."""
    lower: Estimate
    upper: Estimate
    """Limits of agreement: mean difference -/+ 1.96 standard deviations."""
    mean_ml: tuple[float, ...]
    """Of each case, (predicted + true) / 2: the plot's horizontal axis."""
    difference_ml: tuple[float, ...]
    """Of each case, predicted - true: the vertical one."""


@dataclass(frozen=True, eq=False)
class Limit:
    """A limit of agreement as a `chestseg.intervals.Statistic`: mean plus `deviations` sample standard deviations."""

    differences: np.ndarray
    deviations: float
    bounds: tuple[float, float] = ANY

    @property
    def parts(self) -> Mapping[str, np.ndarray]:
        """All cases."""
        return {"cases": np.ones(len(self.differences), bool)}

    def estimate(self, weights: np.ndarray) -> np.ndarray:
        """Limits (R,) for weights (R, n); NaN where a single case was drawn."""
        shift = self.differences.mean()  # small numbers lose fewer digits in the square
        centred = self.differences - shift
        total, first, second = weights.sum(1), weights @ centred, weights @ centred**2
        variance = divided(second - divided(first**2, total), total - 1)
        return shift + divided(first, total) + self.deviations * np.sqrt(np.maximum(variance, 0))

    def influence(self) -> np.ndarray:
        """Of the mean, and of the standard deviation."""
        centred, deviation = self.differences - self.differences.mean(), self.differences.std()
        spread = (centred**2 - deviation**2) / (2 * deviation) if deviation else np.zeros_like(centred)
        return (centred + self.deviations * spread) / len(centred)


def volume_agreement(rows: Sequence[VolumeScore], patients: Sequence[str]) -> VolumeAgreement:
    """Compare the volumes of all cases, those without a lesion too."""
    differences = np.array([row.volume_error_ml for row in rows], float)
    everyone = np.ones(len(rows), bool)
    found = intervals(
        {
            "bias": mean_of(differences, everyone, "cases", ANY),
            "lower": Limit(differences, -DEVIATIONS),
            "upper": Limit(differences, DEVIATIONS),
        },
        patients,
    )
    return VolumeAgreement(
        **found, mean_ml=tuple((row.predicted_ml + row.truth_ml) / 2 for row in rows), difference_ml=tuple(differences.tolist())
    )
