"""Intervals: what they hold fixed, where there is none, and that paired ones see through what two models share."""

import numpy as np
import pytest
from scipy.stats import beta, bootstrap

from chestseg.intervals import FEWEST_PATIENTS, Difference, Ratio, intervals, mean_of, paired

RNG = np.random.default_rng(7)


def names(count: int, each: int = 1) -> list[str]:
    return [f"patient {n:03d}" for n in range(count) for _ in range(each)]


def mean(values: np.ndarray, bounds: tuple[float, float] = (0.0, 1.0)) -> Ratio:
    return mean_of(values, np.ones(len(values), bool), "cases", bounds)


def test_one_case_a_patient_is_scipys_bca() -> None:
    """But for the levels widened for few patients, which hardly show with 300."""
    values = RNG.beta(4, 1.5, 300)
    found = intervals({"dice": mean(values)}, names(300), resamples=6000)["dice"]
    theirs = bootstrap((values,), np.mean, n_resamples=6000, method="BCa", rng=np.random.default_rng(1)).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_order_of_cases_does_not_matter() -> None:
    values, patients, order = RNG.random(90), np.array(names(30, each=3)), RNG.permutation(90)
    one = intervals({"dice": mean(values)}, patients.tolist())["dice"]
    other = intervals({"dice": mean(values[order])}, patients[order].tolist())["dice"]
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)


def test_cases_of_one_patient_are_no_new_evidence() -> None:
    values = RNG.random(40)
    one = intervals({"dice": mean(values)}, names(40))["dice"]
    thrice = intervals({"dice": mean(np.repeat(values, 3))}, names(40, each=3))["dice"]
    assert (thrice.low, thrice.high) == pytest.approx((one.low, one.high))
    assert (thrice.cases, thrice.patients) == (120, 40)


def test_a_ratio_of_sums_weighs_by_its_denominator() -> None:
    lesions = np.array([4.0, 0.0] * 10)
    found = intervals({"lesions": Ratio(lesions / 2, lesions, "cases with lesions")}, names(20))["lesions"]
    assert (found.value, found.cases, found.patients) == (0.5, 10, 10)


def test_fewer_than_ten_patients_have_no_interval_and_a_note() -> None:
    where = np.arange(30) < FEWEST_PATIENTS - 1
    found = intervals({"few": mean_of(RNG.random(30), where, "positives"), "all": mean(RNG.random(30))}, names(30))
    assert found["few"].value is not None and found["few"].low is None and found["few"].high is None
    assert found["few"].note == "9 patients with positives: no interval for fewer than 10"
    assert found["all"].low is not None and found["all"].note is None


def test_many_cases_of_few_patients_have_no_interval() -> None:
    assert intervals({"dice": mean(RNG.random(90))}, names(9, each=10))["dice"].low is None


def test_nothing_to_average_over_is_none_and_says_so() -> None:
    nowhere = intervals({"dice": mean_of(RNG.random(20), np.zeros(20, bool), "positives")}, names(20))["dice"]
    assert (nowhere.value, nowhere.low, nowhere.high, nowhere.note) == (None, None, None, "no positives")
    assert intervals({"dice": mean(np.array([]))}, [])["dice"].note == "no cases"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_alike_ends_at_the_exact_binomial_limit(value: float) -> None:
    found = intervals({"sensitivity": mean(np.full(25, value))}, names(25))["sensitivity"]
    low, high = (beta.ppf(0.025, 25, 1), 1.0) if value else (0.0, beta.ppf(0.975, 1, 25))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_all_alike_without_bounds_has_no_interval() -> None:
    found = intervals({"hd95": mean(np.full(25, 3.5), (0.0, np.inf))}, names(25))["hd95"]
    assert (found.value, found.low, found.high) == (3.5, None, None) and found.note


def test_an_interval_stays_within_the_range_of_its_values() -> None:
    values = np.ones(40)
    values[0] = 0
    found = intervals({"sensitivity": mean(values)}, names(40))["sensitivity"]
    assert found.low is not None and found.high is not None and 0.8 < found.low < 0.975 <= found.high <= 1


def test_rare_positives_may_be_missing_from_a_resample() -> None:
    where = np.arange(3000) < FEWEST_PATIENTS
    found = intervals({"dice": mean_of(RNG.random(3000), where, "positives")}, names(3000), resamples=400)["dice"]
    assert found.low is not None and found.high is not None and 0 <= found.low < found.high <= 1


def test_paired_interval_sees_through_what_models_share() -> None:
    easy = RNG.beta(3, 2, 200)
    better = np.clip(easy + 0.03 + RNG.normal(0, 0.03, 200), 0, 1)
    one, other = mean(better), mean(easy)
    found = intervals({"one": one, "other": other, "difference": paired(one, other)}, names(200))
    apart = found["one"], found["other"]
    assert apart[0].low < apart[1].high  # type: ignore[operator]
    assert found["difference"].low > 0.02 and found["difference"].high < 0.04  # type: ignore[operator]


def test_paired_intervals_cover_the_true_difference() -> None:
    """400 simulated pairs of models on 60 patients with two cases each: 95 % within what 400 can tell, two standard errors."""
    rng, hits, truth = np.random.default_rng(3), 0, 0.05
    for number in range(400):
        skill = np.repeat(rng.normal(0, 0.1, 60), 2)
        one, other = (0.6 + skill + shift + rng.normal(0, 0.08, 120) for shift in (truth, 0))
        pair = Difference(mean(one, (-1, 2)), mean(other, (-1, 2)))
        found = intervals({"d": pair}, names(60, each=2), resamples=500, seed=number)["d"]
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.928 <= hits / 400 <= 0.972


def test_models_that_never_differ_may_still_differ_on_the_next_patient() -> None:
    same = mean((np.arange(50) < 40).astype(float))
    found = intervals({"d": paired(same, same)}, names(50))["d"]
    unseen = 1 - 0.025 ** (1 / 50)
    assert (found.value, found.low, found.high) == (0, pytest.approx(-unseen), pytest.approx(unseen))


def test_a_case_that_only_one_model_has_drops_out_of_both() -> None:
    values, has = RNG.random(30) * 20, np.arange(30) < 20
    one, other = mean_of(values, np.ones(30, bool), "cases", (0, np.inf)), mean_of(values + 1, has, "cases", (0, np.inf))
    found = intervals({"d": paired(one, other)}, names(30))["d"]
    assert (found.value, found.cases) == (pytest.approx(-1), 20)
