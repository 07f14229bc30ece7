"""Every rule of volumes from one pass over cached probabilities: a case's components at each threshold, with their sizes and overlaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from scipy import ndimage

from chestseg.arrays.grid import MM3_PER_ML
from chestseg.config import Strict, VolumePostprocessing
from chestseg.evaluation.choose_surface import STEPS, Amounts, Surface, Thresholds
from chestseg.evaluation.levels import level_of, levels, truth
from chestseg.evaluation.probabilities import CachedCase, ProbabilityCache, cases_of
from chestseg.inference.lesions import label_lesions
from chestseg.preprocessing import VolumePreprocessing


class VolumeCandidates(Strict):
    """What is searched; a rule for each combination. Thresholds are hundredths."""

    threshold: Thresholds = STEPS
    min_lesion_ml: Amounts = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


@dataclass(frozen=True, eq=False)
class VolumeCounts:
    """Of n cases at the network's spacing, over T thresholds and M lesion volumes."""

    axes: dict[str, tuple[float, ...]]
    """`threshold` and `min_lesion_ml`."""
    area: np.ndarray
    """(n, T, M) int64: voxels of the mask."""
    overlap: np.ndarray
    """(n, T, M) int64: those of them that are true."""
    truth: np.ndarray
    """(n,) int64: voxels of the true mask."""

    @property
    def dice(self) -> np.ndarray:
        """(n, T, M) float64, equal to cutting the map, `lesions.remove_small` and `metrics.dice` at the network's spacing."""
        total = self.area + self.truth[:, None, None]
        return np.where(total > 0, 2 * self.overlap / np.maximum(total, 1), 1.0)


def count_volumes(caches: Sequence[ProbabilityCache], candidates: VolumeCandidates, progress: bool = False) -> VolumeCounts:
    """Go through cached volumes once, one in memory at a time.

    Raises:
        ValueError: a damaged cache, or a case that is in two of them.
    """
    axes = {"threshold": candidates.threshold, "min_lesion_ml": candidates.min_lesion_ml}
    n = sum(len(cache) for cache in caches)
    counts, true = np.zeros((n, 2, *map(len, axes.values())), np.int64), np.zeros(n, np.int64)
    for place, (cache, case) in enumerate(cases_of(caches, progress)):
        preprocessing = cache.origin.preprocessing
        assert isinstance(preprocessing, VolumePreprocessing), cache.folder
        counts[place], true[place] = _count(case, axes, prod(preprocessing.spacing) / MM3_PER_ML)
    return VolumeCounts(axes, counts[:, 0], counts[:, 1], true)


def volume_surface(counts: VolumeCounts) -> Surface:
    """The scores of every combination of candidates; axes `threshold` and `min_lesion_ml`."""
    positive, dice, present = counts.truth > 0, counts.dice, counts.area > 0
    n, n_positive = len(positive), int(positive.sum())
    nothing = np.full(dice.shape[1:], np.nan)
    scores = {
        "mean_dice": dice.mean(0),
        "dice_positives": dice[positive].mean(0) if n_positive else nothing,
        "sensitivity": present[positive].mean(0) if n_positive else nothing,
        "specificity": (~present[~positive]).mean(0) if n_positive < n else nothing,
    }
    return Surface(counts.axes, scores, n, n_positive)


def volume_rule_of(candidate: dict[str, float], made_with: VolumePostprocessing) -> VolumePostprocessing:
    """The rule that a combination of candidates is, with what shaped the probabilities as it was."""
    return VolumePostprocessing.model_validate(made_with.model_dump() | candidate)


def _count(case: CachedCase, axes: dict[str, tuple[float, ...]], voxel_ml: float) -> tuple[np.ndarray, int]:
    """(2, T, M) voxels of the mask and true ones among them; voxels of the true mask."""
    found, true = levels(case.packed), truth(case.packed)
    counts = np.zeros((2, *map(len, axes.values())), np.int64)
    least = np.array(axes["min_lesion_ml"])
    for place, threshold in enumerate(axes["threshold"]):
        mask = (found >= level_of(threshold)).view(np.uint8)
        boxes = ndimage.find_objects(mask)
        if not boxes:
            break  # nor does anything reach the higher ones
        labels, voxels = label_lesions(mask[boxes[0]])
        overlaps = np.bincount(labels[true[boxes[0]]], minlength=len(voxels))
        kept = voxels[1:, None] * voxel_ml >= least
        counts[:, place] = voxels[1:] @ kept, overlaps[1:] @ kept
    return counts, int(np.count_nonzero(true))
