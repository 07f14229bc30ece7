"""Image-level scores against scikit-learn and torchmetrics on random cases, and what they say where there is nothing to tell apart."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from chestseg.intervals import intervals
from chestseg.metrics_image import (
    BINS,
    Auc,
    brier_score,
    checked,
    expected_calibration_error,
    reliability_curve,
    roc_curve,
)

SETS = 1000


def images(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """2 to 120 probabilities, some of them tied, some 0 or 1, with a positive and a negative among them."""
    rng = np.random.default_rng(seed)
    positive = rng.random(rng.integers(2, 120)) < rng.uniform(0.1, 0.9)
    positive[:2] = True, False
    probabilities = np.clip(rng.normal(0.3 + 0.3 * positive, 0.3), 0, 1)
    return np.round(probabilities, 2) if seed % 2 else probabilities, positive


def test_auc_is_scikit_learns() -> None:
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for seed in range(SETS):
            probabilities, positive = images(seed)
            weights = np.random.default_rng(seed).integers(1, 4, len(positive)).astype(float)
            expected = roc_auc_score(positive, probabilities, sample_weight=weights)
            assert Auc(probabilities, positive).estimate(weights[None])[0] == pytest.approx(expected, abs=1e-9)


def test_brier_and_reliability_are_scikit_learns() -> None:
    for seed in range(SETS // 10):
        probabilities, positive = images(seed)
        brier = brier_score(probabilities, positive).estimate(np.ones((1, len(positive))))[0]
        assert brier == pytest.approx(brier_score_loss(positive, probabilities), abs=1e-9)
        curve = reliability_curve(probabilities, positive)
        true, said = calibration_curve(positive, probabilities, n_bins=BINS)
        assert [found.positives for found in curve] == pytest.approx(true, abs=1e-9)
        assert [found.probability for found in curve] == pytest.approx(said, abs=1e-9)


def test_calibration_error_is_torchmetrics_off_the_edges_of_bins() -> None:
    """On an edge it takes the bin above, and for 1 a bin of its own."""
    for seed in range(0, 2 * SETS, 2):
        probabilities, positive = images(seed)
        probabilities = np.clip(probabilities, 0.001, 0.999)
        found = expected_calibration_error(reliability_curve(probabilities, positive))
        theirs = binary_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(positive).long(), n_bins=BINS, norm="l1")
        assert found == pytest.approx(theirs.item(), abs=1e-6)


def test_influence_is_the_change_for_one_more_case() -> None:
    probabilities, positive = images(11)
    auc, step = Auc(probabilities, positive), 1e-6
    weights = np.ones((len(positive), len(positive))) + step * np.eye(len(positive))
    change = (auc.estimate(weights) - auc.estimate(np.ones((1, len(positive))))) / step
    assert auc.influence() == pytest.approx(change, abs=1e-4)


def test_interval_of_auc_is_near_delongs() -> None:
    rng = np.random.default_rng(5)
    positive = np.arange(400) < 150
    probabilities = 1 / (1 + np.exp(-rng.normal(1.2 * positive, 1)))
    auc = Auc(probabilities, positive)
    found = intervals({"auc": auc}, [str(n) for n in range(400)])["auc"]
    half = 1.96 * np.sqrt((auc.influence() ** 2).sum())
    assert found.value is not None
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.006)


def test_few_patients_of_either_class_have_no_interval() -> None:
    positive = np.arange(60) < 4
    found = intervals({"auc": Auc(np.linspace(0, 1, 60), positive)}, [str(n) for n in range(60)])["auc"]
    assert found.value == 0 and found.low is None and found.note == "4 patients with positives: no interval for fewer than 10"


@pytest.mark.parametrize("positive", [False, True])
def test_one_class_has_no_roc(positive: bool) -> None:
    truth = np.full(30, positive)
    assert roc_curve(np.linspace(0, 1, 30), truth) is None
    found = intervals({"auc": Auc(np.linspace(0, 1, 30), truth)}, [str(n) for n in range(30)])["auc"]
    assert found.value is None and found.note == ("no negatives" if positive else "no positives")


def test_roc_runs_from_corner_to_corner() -> None:
    curve = roc_curve(np.array([0.9, 0.8, 0.4, 0.1]), np.array([True, False, True, False]))
    assert curve is not None
    assert curve.false_positive_rate == (0.0, 0.0, 0.5, 0.5, 1.0) and curve.true_positive_rate == (0.0, 0.5, 0.5, 1.0, 1.0)
    assert curve.threshold == (None, 0.9, 0.8, 0.4, 0.1)


def test_bins_of_the_reliability_curve() -> None:
    curve = reliability_curve(np.array([0.0, 0.1, 0.5, 0.6, 1.0]), np.array([False, True, False, True, True]), bins=2)
    assert [(b.low, b.high, b.cases, b.positives) for b in curve] == [(0.0, 0.5, 3, pytest.approx(1 / 3)), (0.5, 1.0, 2, 1.0)]
    assert [b.probability for b in curve] == pytest.approx([0.2, 0.8])
    assert expected_calibration_error(curve) == pytest.approx((3 * (1 / 3 - 0.2) + 2 * 0.2) / 5)


def test_no_image_no_calibration() -> None:
    assert expected_calibration_error(reliability_curve(np.array([]), np.array([], bool))) is None


@pytest.mark.parametrize("wrong", [np.nan, -0.01, 1.01, np.inf])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"^second: its probability is .* \(so are 1 of 3\): .*evaluate again$"):
        checked([0.5, wrong, 0.5], ["first", "second", "third"])
