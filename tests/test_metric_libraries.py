"""Scores of masks against the libraries whose definitions they name, on 1,000 random cases each; empty masks are among them."""

import warnings

import numpy as np
import pytest
import surface_distance
from scipy.ndimage import gaussian_filter
from sklearn.metrics import f1_score, jaccard_score

from chestseg.metrics import dice, iou
from chestseg.metrics_volume import TOLERANCE_MM, compare_surfaces

CASES = 1000
THICK = (5.0, 0.8, 0.7)


def test_dice_and_iou_are_scikit_learns() -> None:
    """Its F1 and Jaccard scores of pixels with `zero_division=1`: 1 where both masks are empty, 0 where one is."""
    rng = np.random.default_rng(0)
    shares = np.where(rng.random((2, CASES)) < 0.2, 0, rng.random((2, CASES)) ** 3)
    prediction, truth = rng.random((2, 256, CASES)) < shares[:, None]
    found = [(dice(p, t), iou(p, t)) for p, t in zip(prediction.T, truth.T, strict=True)]
    assert sum(not (p.any() or t.any()) for p, t in zip(prediction.T, truth.T, strict=True)) > 20
    expected = (score(truth, prediction, average=None, zero_division=1) for score in (f1_score, jaccard_score))
    np.testing.assert_allclose(np.array(found).T, list(expected), atol=1e-6)


def test_surfaces_are_surface_distances() -> None:
    noise = gaussian_filter(np.random.default_rng(1).standard_normal((2, CASES, 5, 8, 9)), (0, 0, 0.7, 1.5, 1.5))
    for prediction, truth in (noise > 0.1).swapaxes(0, 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SciPy's old names, which only this function of it calls
            apart = surface_distance.compute_surface_distances(truth, prediction, THICK)
        hd95, nsd = compare_surfaces(prediction, truth, THICK)
        if prediction.any() and truth.any():
            assert hd95 == pytest.approx(surface_distance.compute_robust_hausdorff(apart, 95), abs=1e-6)
        if prediction.any() or truth.any():
            assert nsd == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(apart, TOLERANCE_MM), abs=1e-6)
