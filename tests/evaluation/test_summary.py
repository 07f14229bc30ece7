"""Tables of scores with intervals: what is in them, what is missing and said to be, and paired comparison of two models."""

import json
from dataclasses import replace

import numpy as np
import pytest

from chestseg.evaluation.agreement import volume_agreement
from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.statistics import image_curves
from chestseg.evaluation.subgroups import CaseFacts
from chestseg.evaluation.summary import ScoreTable, compare_models, summarise_groups
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.intervals import RESAMPLES
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore

COUNT = 60


def radiographs(seed: int = 0, count: int = COUNT) -> EvaluationResult:
    rng, rows = np.random.default_rng(seed), []
    for n in range(count):
        truth = 100 * n if n % 2 else 0
        found = truth if rng.random() < 0.9 else 0
        dice = float(rng.beta(5, 2)) if found else float(not truth)
        rows.append(CaseScore(f"c{n}", "siim", truth, found, dice, dice, float(np.clip(0.5 * (n % 2) + rng.random() / 2, 0, 1))))
    return EvaluationResult(tuple(rows), 256)


def volumes(seed: int = 0, count: int = COUNT) -> VolumeEvaluation:
    rng, rows = np.random.default_rng(seed), []
    for n in range(count):
        truth, error = float(rng.gamma(2, 40)), float(rng.normal(0, 9))
        hd95 = None if n % 5 == seed else float(rng.gamma(2, 5))
        rows.append(VolumeScore(f"v{n}", "mosmed", truth, truth + error, error, float(rng.random()), 0.4, hd95, 0.5, 4, 3, 1))
    return VolumeEvaluation(tuple(rows))


def facts(count: int = COUNT, each: int = 2) -> CaseFacts:
    patients = tuple(f"p{n // each}" for n in range(count))
    view = tuple("AP" if n % 3 else "PA" for n in range(count))
    return CaseFacts(patients, 0, view, tuple("M" if n < 50 else "F" for n in range(count)), (None,) * count)


def groups(table: ScoreTable) -> list[tuple[str, str]]:
    return [(group.by, group.group) for group in table.groups]


def test_all_cases_first_then_subgroups() -> None:
    table = summarise_groups(radiographs(), facts(), resamples=200)
    assert groups(table)[0] == ("all", "all") and groups(table)[5:] == [("view", "AP"), ("view", "PA"), ("sex", "female"), ("sex", "male")]
    assert (table.overall.cases, table.overall.patients, table.overall.positives) == (60, 30, 30)
    for estimate in [estimate for name, estimate in table.overall.scores.items() if name != "ece"]:
        assert None not in (estimate.value, estimate.low, estimate.high) and estimate.low <= estimate.value <= estimate.high
    assert not table.warnings


def test_small_groups_have_values_without_intervals() -> None:
    female = summarise_groups(radiographs(), facts(), resamples=100).groups[7]
    assert (female.group, female.patients) == ("female", 5)
    assert female.scores["mean_dice"].value is not None and female.scores["mean_dice"].low is None and female.scores["mean_dice"].note


def test_a_quartile_of_positives_has_no_specificity_and_says_so() -> None:
    quartile = summarise_groups(radiographs(), facts(), resamples=100).groups[1]
    assert quartile.by == "lesion size"
    assert (quartile.scores["specificity"].value, quartile.scores["specificity"].note) == (None, "no negatives")
    assert quartile.scores["auc"].value is None


def test_it_is_json_without_nan() -> None:
    for result in (radiographs(), volumes(), radiographs(count=1), EvaluationResult((), 256)):
        table = summarise_groups(result, facts(len(result.rows)), resamples=50)
        content = json.loads(json.dumps(table.content(), allow_nan=False))
        assert len(content["groups"]) == len(table.groups) and content["compared"] == result.compared


def test_the_same_seed_gives_the_same_table() -> None:
    assert summarise_groups(volumes(), facts(), resamples=100) == summarise_groups(volumes(), facts(), resamples=100)


@pytest.mark.parametrize(
    ("result", "of", "words"),
    [
        (radiographs(count=6), facts(6, each=1), "6 patients: no intervals for fewer than 10"),
        (radiographs(), facts(each=1), "each case has a patient id of its own"),
        (radiographs(), replace(facts(), unnamed=12), "12 of 60 cases name no patient"),
        (EvaluationResult(radiographs().rows[::2], 256), facts(30), "no positives: scores over them are missing"),
        (EvaluationResult(radiographs().rows[1::2], 256), facts(30), "no negatives: scores over them are missing"),
    ],
)
def test_what_a_reader_must_know(result: EvaluationResult, of: CaseFacts, words: str) -> None:
    assert any(words in warning for warning in summarise_groups(result, of, resamples=20).warnings)


def test_a_split_without_positives_has_no_silent_zero() -> None:
    scores = summarise_groups(EvaluationResult(radiographs().rows[::2], 256), facts(30), resamples=20).overall.scores
    assert all(scores[name].value is None and scores[name].note == "no positives" for name in ("dice_positives", "sensitivity", "auc"))
    assert scores["all_empty"].value == 1


def test_two_models_on_the_same_cases() -> None:
    one = radiographs()
    worse = EvaluationResult(tuple(replace(row, dice=row.dice * 0.9) for row in one.rows), 256)
    table = compare_models(one, worse, facts(), resamples=400)
    difference, apart = table.overall.scores["mean_dice"], summarise_groups(one, facts(), resamples=400).overall.scores["mean_dice"]
    assert difference.value == pytest.approx(one.summary.mean_dice - worse.summary.mean_dice)  # type: ignore[operator]
    assert 0 < difference.low < difference.high < apart.high - apart.low  # type: ignore[operator]
    assert "all_empty" not in table.overall.scores and len(table.groups) > 1


def test_surfaces_are_compared_where_both_models_have_them() -> None:
    found = compare_models(volumes(0), volumes(1), facts(), resamples=100).overall.scores["hd95_mm"]
    assert found.cases == COUNT - 2 * COUNT // 5


def test_other_cases_sizes_and_tracks_are_refused() -> None:
    one = radiographs()
    with pytest.raises(ValueError, match="cases that are not the same: evaluate both on one split"):
        compare_models(one, EvaluationResult(one.rows[::-1], 256), facts())
    with pytest.raises(
        ValueError, match="masks compared at 256 x 256 and masks compared at 512 x 512: evaluate both on one prepared dataset"
    ):
        compare_models(one, EvaluationResult(one.rows, 512), facts())


def test_calibration_of_all_cases_together_has_a_value_and_no_interval() -> None:
    table = summarise_groups(radiographs(), facts(), resamples=50)
    ece = table.overall.scores["ece"]
    assert ece.value == image_curves(radiographs().rows).calibration_error and ece.low is None and "no interval" in str(ece.note)
    assert (ece.cases, ece.patients) == (COUNT, COUNT // 2)
    assert all("ece" not in group.scores for group in table.groups[1:])
    assert summarise_groups(EvaluationResult((), 256), facts(0), resamples=20).overall.scores.get("ece") is None


def test_limits_of_agreement_stand_beside_the_bias_and_do_not_compare_models() -> None:
    scores = summarise_groups(volumes(), facts(), resamples=RESAMPLES).overall.scores
    agreement = volume_agreement(volumes().rows, facts().patients)
    found = [scores[name] for name in ("volume_error_ml", "volume_lower_limit_ml", "volume_upper_limit_ml")]
    assert found == [agreement.bias, agreement.lower, agreement.upper]
    assert not {"volume_lower_limit_ml", "ece"} & compare_models(volumes(0), volumes(1), facts(), resamples=20).overall.scores.keys()
