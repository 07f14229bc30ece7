"""Probabilities and the truth in a byte a pixel, exact at every threshold that is a hundredth.

The lower seven bits are the level: how many of the thresholds 0.01, 0.02 ... 1.00 the probability reaches, compared in float32 as
post-processing compares it. So what is cut from a level at a hundredth is what is cut from the network's own answer. The top bit is the
truth.
"""

import numpy as np

LEVELS = 100
TRUTH = 1 << 7
_EDGES = np.array([*(k / LEVELS for k in range(LEVELS + 1)), np.inf], np.float32)


def pack(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Bytes of one map and its mask.

    Args:
        probabilities: float16 or float32 of any shape, 0..1.
        truth: of the same shape; any value but 0 is foreground.

    Raises:
        ValueError: probabilities that are not finite or outside 0..1.
    """
    assert probabilities.shape == truth.shape, (probabilities.shape, truth.shape)
    found = probabilities.astype(np.float32, copy=False)
    if not (found.min() >= 0 and found.max() <= 1):
        raise ValueError("probabilities that are not numbers from 0 to 1: the network's training diverged; use an earlier bundle")
    levels = (found * LEVELS).astype(np.uint8)
    # The product is rounded, so it may be one off.
    levels -= found < _EDGES[levels]
    levels += found >= _EDGES[levels + 1]
    return np.where(truth != 0, levels | np.uint8(TRUTH), levels)


def levels(packed: np.ndarray) -> np.ndarray:
    """Level of each pixel, uint8 0..100: its probability lies from there to below the next hundredth."""
    return packed & np.uint8(TRUTH - 1)


def truth(packed: np.ndarray) -> np.ndarray:
    """The true mask, bool."""
    return packed >= TRUTH


def histograms(packed: np.ndarray) -> np.ndarray:
    """Pixels at each level, (2, 101) int64: those outside the true mask, then those inside."""
    counts = np.bincount(packed.ravel(), minlength=2 * TRUTH).reshape(2, TRUTH)
    assert not counts[:, LEVELS + 1 :].any(), "bytes that `pack` does not make"
    return counts[:, : LEVELS + 1]


def level_of(threshold: float) -> int:
    """The level from which on a probability reaches the threshold.

    Raises:
        ValueError: the threshold is not a hundredth between 0 and 1.
    """
    level = round(threshold * LEVELS)
    if not (0 < level < LEVELS and threshold == level / LEVELS):
        raise ValueError(f"threshold {threshold}: probabilities are kept in hundredths: give candidates from 0.01 to 0.99 in steps of 0.01")
    return level
