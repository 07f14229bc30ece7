"""A byte a pixel loses nothing that a threshold of a hundredth asks."""

import numpy as np
import pytest

from chestseg.evaluation.levels import LEVELS, histograms, level_of, levels, pack, truth


def hard_values() -> np.ndarray:
    """Each threshold and its neighbours in float32, and what lies between."""
    edges = np.array([k / LEVELS for k in range(LEVELS + 1)], np.float32)
    beside = [np.nextafter(edges, np.float32(goal)) for goal in (0, 1)]
    return np.concatenate([edges, *beside, np.random.default_rng(0).random(4000, np.float32)])


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_cutting_levels_is_cutting_probabilities(kind: type) -> None:
    found = np.clip(hard_values().astype(kind), 0, 1)
    packed = pack(found, np.ones(found.shape, np.uint8))
    for k in range(1, LEVELS):
        np.testing.assert_array_equal(levels(packed) >= level_of(k / LEVELS), found.astype(np.float32) >= k / LEVELS)


def test_truth_lies_beside_the_level() -> None:
    found, mask = np.random.default_rng(1).random((2, 9, 7), np.float32)
    packed = pack(found, mask > 0.5)
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(truth(packed), mask > 0.5)
    counts = histograms(packed)
    assert counts.shape == (2, LEVELS + 1) and counts.sum() == 63 and counts[1].sum() == (mask > 0.5).sum()
    assert counts[1, 30:].sum() == ((found >= 0.3) & (mask > 0.5)).sum()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.001, 1.001])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    found = np.full((4, 4), 0.5, np.float32)
    found[1, 2] = wrong
    with pytest.raises(ValueError, match="not numbers from 0 to 1: .*earlier bundle"):
        pack(found, np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("threshold", [0.0, 1.0, 0.333, 0.005])
def test_other_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"threshold {threshold}: .* steps of 0\.01"):
        level_of(threshold)
