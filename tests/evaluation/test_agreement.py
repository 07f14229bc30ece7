"""Bland and Altman's figures against hand-made ones."""

import numpy as np
import pytest

from chestseg.evaluation.agreement import Limit, volume_agreement
from chestseg.metrics_volume import VolumeScore


def volume(truth_ml: float, predicted_ml: float) -> VolumeScore:
    return VolumeScore("case", "ricord", truth_ml, predicted_ml, predicted_ml - truth_ml, 0.5, 0.5, None, None, 0, 0, 0)


def names(count: int) -> list[str]:
    return [f"p{n:03d}" for n in range(count)]


def test_bias_and_limits() -> None:
    rng = np.random.default_rng(2)
    truth = rng.gamma(2, 60, 80)
    rows = [volume(true, true + error) for true, error in zip(truth, rng.normal(-12, 20, 80), strict=True)]
    differences = np.array([row.volume_error_ml for row in rows])
    found = volume_agreement(rows, names(80))
    half = 1.96 * differences.std(ddof=1)
    assert found.bias.value == pytest.approx(differences.mean())
    assert (found.lower.value, found.upper.value) == pytest.approx((differences.mean() - half, differences.mean() + half))
    assert found.mean_ml[3] == pytest.approx((rows[3].truth_ml + rows[3].predicted_ml) / 2)
    assert found.difference_ml == pytest.approx(differences)


def test_intervals_of_limits_are_as_wide_as_bland_and_altman_say() -> None:
    """Standard error of a limit: about sqrt(3 / n) standard deviations."""
    errors = np.random.default_rng(4).normal(0, 10, 300)
    found = volume_agreement([volume(100, 100 + error) for error in errors], names(300)).upper
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(3 / 300) * 10, rel=0.15)


def test_influence_is_the_change_for_one_more_case() -> None:
    limit, step = Limit(np.random.default_rng(6).normal(5, 3, 500), 1.96), 1e-5
    change = (limit.estimate(np.ones((500, 500)) + step * np.eye(500)) - limit.estimate(np.ones((1, 500)))) / step
    assert limit.influence() == pytest.approx(change, abs=5e-5)


def test_one_volume_has_a_bias_and_no_limits() -> None:
    found = volume_agreement([volume(10, 12)], ["p"])
    assert (found.bias.value, found.bias.low, found.lower.value, found.lower.note) == (2.0, None, None, "1 cases are too few")


def test_no_volume() -> None:
    found = volume_agreement([], [])
    assert found.bias.value is None and found.upper.value is None and found.mean_ml == ()


def test_equal_volumes_have_no_interval() -> None:
    found = volume_agreement([volume(10, 10)] * 12, names(12))
    assert (found.upper.value, found.upper.low) == (0, None) and found.upper.note
