"""The gate's rule on scores of known differences."""

from dataclasses import replace

import pytest

from chestseg.config import Gate
from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.gate import Check, checked
from chestseg.evaluation.subgroups import CaseFacts
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore


def radiographs(shift: float = 0.0, missed: int = 0, n: int = 300, healthy: bool = True) -> EvaluationResult:
    """Two of three cases positive with Dice around 0.7; `shift` is added to each, `missed` positives are left empty."""
    rows = []
    for place in range(n):
        positive = place % 3 > 0 or not healthy
        dice = 0.6 + 0.02 * (place % 11) + shift if positive else 1.0
        rows.append(CaseScore(f"{place}", "a", 100 * positive, 90 * positive, dice, dice / 2, 0.9 if positive else 0.1))
    ill = [place for place, row in enumerate(rows) if row.positive]
    for place in ill[:missed]:
        rows[place] = replace(rows[place], predicted_px=0, dice=0.0, iou=0.0, probability=0.2)
    return EvaluationResult(tuple(rows), 64)


def facts(n: int = 300) -> CaseFacts:
    return CaseFacts(tuple(f"p{place}" for place in range(n)), 0, (None,) * n, (None,) * n, (None,) * n)


def by_metric(gate: Gate, ours: EvaluationResult, theirs: EvaluationResult | None, n: int = 300) -> dict[tuple[str, str], Check]:
    return {(check.metric, check.against): check for check in checked(gate, ours, theirs, facts(n))}


def test_surely_better_everywhere_is_promoted() -> None:
    checks = by_metric(Gate(), radiographs(0.05), radiographs())
    assert len(checks) == 5 and all(check.holds for check in checks.values())
    better = checks["mean_dice", "the champion"]
    assert better.difference.value == pytest.approx(0.05 * 200 / 300)
    assert better.words.startswith("mean Dice +0.033 (+0.0")


def test_the_same_model_is_not_better_and_a_little_worse_is_within_the_margin() -> None:
    same = by_metric(Gate(), radiographs(), radiographs())
    assert [key for key, check in same.items() if not check.holds] == [("mean_dice", "the champion")]
    assert "is not surely above 0.000" in same["mean_dice", "the champion"].words
    worse = by_metric(Gate(better="sensitivity"), radiographs(-0.01), radiographs(missed=100))
    assert all(check.holds for check in worse.values())


def test_a_guarded_metric_that_may_be_worse_holds_it_back() -> None:
    checks = by_metric(Gate(), radiographs(0.2, missed=30), radiographs())
    sensitivity = checks["sensitivity", "the champion"]
    assert sensitivity.difference.value == pytest.approx(-0.15) and not sensitivity.holds
    assert "sensitivity -0.150" in sensitivity.words and "is not surely above -0.050" in sensitivity.words
    assert by_metric(Gate(guarded={"sensitivity": 0.5}), radiographs(0.2, missed=30), radiographs())["sensitivity", "the champion"].holds


def test_few_cases_do_not_show_that_nothing_is_worse() -> None:
    """Twenty healthy patients, all of them right both times: one in six could be wrong and not be among them."""
    found = by_metric(Gate(), radiographs(0.05, n=60), radiographs(n=60), 60)["specificity", "the champion"]
    assert not found.holds and "specificity +0.000 (-0.168 to +0.168) against the champion is not surely above -0.050" in found.words


def test_by_more_than_asked() -> None:
    assert not by_metric(Gate(by=0.04), radiographs(0.05), radiographs())["mean_dice", "the champion"].holds


def test_where_lower_is_better() -> None:
    gate = Gate(better="brier", guarded={})
    assert by_metric(gate, radiographs(), radiographs(missed=75))["brier", "the champion"].holds
    back = by_metric(gate, radiographs(missed=75), radiographs())["brier", "the champion"]
    assert not back.holds and "is not surely below" in back.words


def test_too_few_patients_are_told_and_the_value_alone_may_decide() -> None:
    few = by_metric(Gate(), radiographs(0.05, n=6), radiographs(n=6), 6)
    assert not few["mean_dice", "the champion"].holds
    assert "cannot be judged: 6 patients with cases: no interval for fewer than 10" in few["mean_dice", "the champion"].words
    assert all(check.holds for check in by_metric(Gate(judged="value"), radiographs(0.05, n=6), radiographs(n=6), 6).values())


def test_what_nobody_can_score_does_not_stand_in_the_way() -> None:
    ill = by_metric(Gate(), radiographs(0.05, healthy=False), radiographs(healthy=False))
    assert ill["specificity", "the champion"].holds and "is not judged: no negatives" in ill["specificity", "the champion"].words


def test_the_first_champion_must_beat_predicting_nothing() -> None:
    assert [check.holds for check in checked(Gate(), radiographs(), None, facts())] == [True]
    empty = EvaluationResult(tuple(replace(row, predicted_px=0, dice=float(not row.positive)) for row in radiographs().rows), 64)
    [check] = checked(Gate(judged="value"), empty, None, facts())
    assert not check.holds and "against predicting nothing is not above 0.000" in check.words


def test_a_metric_of_the_other_track_is_refused() -> None:
    with pytest.raises(ValueError, match="gate: hd95_mm is no score of this track: give one of mean_dice"):
        checked(Gate(better="hd95_mm"), radiographs(), radiographs(), facts())
    volume = VolumeScore("0", "x", 120.0, 100.0, -20.0, 0.7, 0.5, 11.0, 0.7, 4, 3, 1)
    volumes = VolumeEvaluation(tuple(replace(volume, case_id=str(n)) for n in range(12)))
    nearer = VolumeEvaluation(tuple(replace(row, hd95_mm=9.0 + 0.1 * n) for n, row in enumerate(volumes.rows)))
    found = checked(Gate(better="hd95_mm", guarded={"nsd": 0.3}), nearer, volumes, facts(12))
    assert [check.holds for check in found] == [True, True, True]
    with pytest.raises(ValueError, match="gate: auc is no score of this track"):
        checked(Gate(guarded={"auc": 0.1}), nearer, volumes, facts(12))
