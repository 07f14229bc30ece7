"""Every rule of radiographs from one pass over cached probabilities.

Two histograms of levels a case say how many pixels reach each threshold and how many of these are true. That is all a rule asks, so
scores of any number of rules are arithmetic on a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chestseg.config import Postprocessing, Strict
from chestseg.evaluation.choose_surface import STEPS, Amounts, Surface, Thresholds
from chestseg.evaluation.levels import LEVELS, histograms, level_of
from chestseg.evaluation.probabilities import ProbabilityCache, cases_of
from chestseg.inference.postprocess import AREA_EDGE

SHARE_IN_MM2 = 0.5
"""Of the cases that have a credible spacing, from which on areas are chosen in mm²."""


class Candidates(Strict):
    """What is searched; a rule for each combination. Thresholds are hundredths."""

    threshold: Thresholds = STEPS
    top_threshold: Thresholds = STEPS
    """Those below the threshold are left out; equal to it is a rule without one."""
    min_area: Amounts = (0, 100, 250, 500, 750, 1000, 1250, 1500, 2000, 2500, 3000, 3500, 4000, 5000)
    """Pixels at 1024, where spacings are missing."""
    min_area_mm2: Amounts = (0, 15, 35, 70, 105, 140, 180, 215, 285, 360, 430, 500, 570, 715)
    """Where they are not: about as much on an image of 35x43 cm."""
    empty_threshold: Amounts = (0, *STEPS)
    """For networks with an empty-mask head; 0 does nothing."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Of n cases at the network's size, by level 0 to 100."""

    area: np.ndarray
    """(n, 101) int64: pixels at the level or above it."""
    overlap: np.ndarray
    """(n, 101) int64: those of them that are true."""
    disease: np.ndarray
    """(n,) float64 of the empty-mask head; NaN without one."""
    shown_mm2: np.ndarray
    """(n,) float64; NaN where the spacing is not credible."""
    pixels: int
    """Of a map."""

    @property
    def truth(self) -> np.ndarray:
        """(n,) int64: pixels of the true mask."""
        return self.overlap[:, 0]

    @property
    def empty_dice(self) -> np.ndarray:
        """(n,) float64: Dice of predicting nothing."""
        return (self.truth == 0).astype(np.float64)

    def dice_at(self, level: int) -> np.ndarray:
        """(n,) float64: Dice of what reaches a level, as `metrics.dice` has it."""
        total = self.area[:, level] + self.truth
        return np.where(total > 0, 2 * self.overlap[:, level] / np.maximum(total, 1), 1.0)

    def least_pixels(self, min_area: float, min_area_mm2: float | None) -> np.ndarray:
        """(n,) float64: the smallest area in pixels that a rule keeps, to the last bit as `postprocess.finds_disease` has it."""
        least = np.full(len(self.area), min_area * self.pixels / AREA_EDGE**2)
        if min_area_mm2 is None:
            return least
        return np.where(np.isnan(self.shown_mm2), least, min_area_mm2 * self.pixels / self.shown_mm2)

    def kept(self, rule: Postprocessing) -> np.ndarray:
        """(n,) bool: whether the rule leaves a mask."""
        area = self.area[:, level_of(rule.top_threshold or rule.threshold)]
        kept = (area > 0) & (area >= self.least_pixels(rule.min_area, rule.min_area_mm2))
        return kept if rule.empty_threshold is None else kept & (self.disease >= rule.empty_threshold)

    def dice(self, rule: Postprocessing) -> np.ndarray:
        """(n,) float64: Dice of each case under a rule, equal to `postprocess.apply` and `metrics.dice` at the network's size."""
        return np.where(self.kept(rule), self.dice_at(level_of(rule.threshold)), self.empty_dice)


def count(caches: Sequence[ProbabilityCache], progress: bool = False) -> Counts:
    """Go through cached radiographs once.

    Raises:
        ValueError: a damaged cache, or a case that is in two of them.
    """
    n = sum(len(cache) for cache in caches)
    found, numbers = np.zeros((n, 2, LEVELS + 1), np.int32), np.full((n, 2), np.nan)
    for place, (_, case) in enumerate(cases_of(caches, progress)):
        found[place] = histograms(case.packed)
        numbers[place] = np.array([case.disease, case.shown_mm2], np.float64)
    reached = found[..., ::-1].cumsum(-1, dtype=np.int64)[..., ::-1]
    return Counts(reached.sum(1), reached[:, 1], numbers[:, 0], numbers[:, 1], int(found[0].sum()))


def surface(counts: Counts, candidates: Candidates) -> Surface:
    """The scores of every combination of candidates; axes `threshold`, `top_threshold`, `min_area` or `min_area_mm2`, `empty_threshold`.

    Areas are in mm² where at least half of the cases have a credible spacing; then a case without one is judged by as many pixels at
    1024 as the area takes on the median image, and so is the chosen rule.
    """
    axes = _axes(counts, candidates)
    thresholds, tops, areas, empties = axes.values()
    truth, negative = counts.truth > 0, counts.truth == 0
    shape = tuple(len(values) for values in axes.values())
    gained, gained_on_positives = np.full((2, *shape), np.nan)
    positives_kept, negatives_kept = np.full((2, *shape), np.nan)
    gains = [counts.dice_at(level_of(threshold)) - counts.empty_dice for threshold in thresholds]
    passes = _passes(counts, axes)
    for top_place, top in enumerate(tops):
        add = _adder(passes(level_of(top)), (len(areas), len(empties)))
        found = add(truth), add(negative)
        for place, threshold in enumerate(thresholds):
            if threshold <= top:
                positives_kept[place, top_place], negatives_kept[place, top_place] = found
                gained[place, top_place] = add(gains[place])
                gained_on_positives[place, top_place] = add(gains[place] * truth)
    n, n_positive = len(truth), int(truth.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = {
            "mean_dice": (gained + counts.empty_dice.sum()) / n,
            "dice_positives": gained_on_positives / n_positive,
            "sensitivity": positives_kept / n_positive,
            "specificity": 1 - negatives_kept / (n - n_positive),
        }
    return Surface(axes, scores, n, n_positive)


def rule_of(candidate: dict[str, float], counts: Counts, made_with: Postprocessing) -> Postprocessing:
    """The rule that a combination of candidates is, with what shaped the probabilities as it was."""
    threshold, top, empty = candidate["threshold"], candidate["top_threshold"], candidate["empty_threshold"]
    area_mm2 = candidate.get("min_area_mm2")
    return Postprocessing(
        flip_tta=made_with.flip_tta,
        threshold=threshold,
        top_threshold=top if top > threshold else None,
        min_area=candidate["min_area"] if area_mm2 is None else _pixels_for(area_mm2, counts),
        min_area_mm2=area_mm2,
        empty_threshold=empty or None,
    )


def _axes(counts: Counts, candidates: Candidates) -> dict[str, tuple[float, ...]]:
    area = "min_area_mm2" if np.isfinite(counts.shown_mm2).mean() >= SHARE_IN_MM2 else "min_area"
    heads = not np.isnan(counts.disease).any()
    return {
        "threshold": candidates.threshold,
        "top_threshold": candidates.top_threshold,
        area: getattr(candidates, area),
        "empty_threshold": candidates.empty_threshold if heads else (0.0,),
    }


def _pixels_for(area_mm2: float, counts: Counts) -> float:
    """Pixels at 1024 that an area takes on the median image."""
    return float(round(area_mm2 * AREA_EDGE**2 / np.nanmedian(counts.shown_mm2)))


def _passes(counts: Counts, axes: dict[str, tuple[float, ...]]) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """For a top level, how many of the areas and of the empty thresholds, from the least on, each case reaches: two (n,) int64."""
    in_mm2 = "min_area_mm2" in axes
    areas = [(_pixels_for(area, counts), area) if in_mm2 else (area, None) for area in axes["min_area_mm2" if in_mm2 else "min_area"]]
    least = np.stack([counts.least_pixels(*area) for area in areas], 1)
    heads = ~(counts.disease[:, None] < np.array(axes["empty_threshold"]))  # without a head nothing is emptied
    reached = heads.sum(1)

    def passes(level: int) -> tuple[np.ndarray, np.ndarray]:
        area = counts.area[:, level, None]
        return ((area >= least) & (area > 0)).sum(1), reached

    return passes


def _adder(passes: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """A function that adds up a weight (n,) over the cases that are kept, for each area and empty threshold: float64 of `shape`."""
    wide = (shape[0] + 1, shape[1] + 1)
    cells = np.ravel_multi_index(passes, wide)

    def add(weights: np.ndarray) -> np.ndarray:
        table = np.bincount(cells, weights, minlength=wide[0] * wide[1]).reshape(wide)
        # A case that reaches k candidates is kept by the first k of them.
        return table[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1][1:, 1:]

    return add
