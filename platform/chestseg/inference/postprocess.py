"""From probabilities to a mask: is anything there, and if so, where."""

import numpy as np

from chestseg.arrays.resize import resize_image
from chestseg.config import Postprocessing

AREA_EDGE = 1024
"""Edge of the image in whose pixels `Postprocessing.min_area` counts."""


def image_mm2(shape: tuple[int, ...], spacing: tuple[float, float] | None) -> float | None:
    """Square millimetres of the patient on an image of (rows, columns) pixels `spacing` mm apart; None without a spacing."""
    return None if spacing is None else shape[0] * shape[1] * spacing[0] * spacing[1]


def finds_disease(probabilities: np.ndarray, disease: float | None, rule: Postprocessing, shown_mm2: float | None = None) -> bool:
    """Whether the rule keeps a mask at all.

    Args:
        probabilities: (S, S) float32 at the network's size; areas in pixels scale with (S / 1024)².
        disease: probability from the empty-mask head, or None without one.
        rule: with a top threshold, its area is counted there (the triplet of SIIM-ACR's first place), else at the threshold.
        shown_mm2: square millimetres of the patient on the image, see `image_mm2`; None where its spacing is not credible.
    """
    if rule.empty_threshold is not None:
        assert disease is not None, "Experiment refuses an empty_threshold without a head"
        if disease < rule.empty_threshold:
            return False
    area = np.count_nonzero(probabilities >= (rule.top_threshold or rule.threshold))
    if rule.min_area_mm2 is None or shown_mm2 is None:
        least = rule.min_area * probabilities.size / AREA_EDGE**2
    else:
        least = rule.min_area_mm2 * probabilities.size / shown_mm2
    return bool(area > 0 and area >= least)


def apply(
    probabilities: np.ndarray,
    disease: float | None,
    rule: Postprocessing,
    size: tuple[int, int] | None = None,
    shown_mm2: float | None = None,
) -> np.ndarray:
    """The mask the rule makes of one image's probabilities.

    Whether there is a mask is decided at the network's size, where thresholds and areas were tuned, so the answer does not depend on
    how many pixels the source has. The mask is then drawn at `size`: the map is stretched back the way the image was stretched, with
    pixel centres aligned, and cut at the threshold.

    Args:
        probabilities: (S, S) float32, 0..1.
        disease: probability from the empty-mask head, or None without one.
        rule: thresholds and areas.
        size: (rows, columns) of the mask; the map's own when None.
        shown_mm2: as of `finds_disease`.

    Returns:
        uint8 mask of 0 and 1.
    """
    size = size or (probabilities.shape[0], probabilities.shape[1])
    if not finds_disease(probabilities, disease, rule, shown_mm2):
        return np.zeros(size, np.uint8)
    return (resize_image(probabilities, size) >= rule.threshold).astype(np.uint8)
