"""What a split can show of the gate's rule before anything is scored, and that the tracks' own rules can be kept to."""

from dataclasses import replace

import numpy as np
import pytest

from chestseg.config import Gate, load_experiment
from chestseg.config.gate import CtGate
from chestseg.evaluation.gate import checked
from chestseg.evaluation.provable import beyond_proof
from chestseg.evaluation.subgroups import CaseFacts
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.metrics_volume import VolumeScore
from tests.conftest import ROOT


def names(count: int) -> list[str]:
    return [f"p{place}" for place in range(count)]


def volumes(shift: float, patients: int = 12) -> VolumeEvaluation:
    """Ill patients, all found; Dice and NSD move by `shift` and a little by chance."""
    rng, rows = np.random.default_rng(7), []
    for place in range(patients):
        truth = float(rng.gamma(2, 60) + 5)
        dice, nsd = (float(mean + 0.02 * rng.standard_normal() * (shift > 0) + shift) for mean in (0.6, 0.7))
        predicted = truth * (1 + 0.2 * float(rng.standard_normal()))
        rows.append(VolumeScore(str(place), "ricord", truth, predicted, predicted - truth, dice, dice / 1.5, 12.0, nsd, 3, 3, 1))
    return VolumeEvaluation(tuple(rows))


def facts(count: int) -> CaseFacts:
    return CaseFacts(tuple(names(count)), 0, (None,) * count, (None,) * count, (None,) * count)


def test_a_dozen_ill_patients_cannot_show_a_sensitivity_within_a_twentieth() -> None:
    ill = np.ones(12, bool)
    words = beyond_proof(Gate(), ill, names(12))
    assert words is not None and "sensitivity of two models without a mistake in 12 patients differs by -0.265 to +0.265" in words
    assert "the margin is 0.05" in words and "specificity" not in words and "\n" not in words
    assert beyond_proof(CtGate(), ill, names(12)) is None
    assert beyond_proof(Gate(judged="value"), ill, names(12)) is None
    assert beyond_proof(Gate(guarded={"sensitivity": 0.3}), ill, names(12)) is None


def test_it_is_what_the_gate_then_finds() -> None:
    """Every second candidate was refused under the rule of radiographs, however much better it was."""
    better, champion = volumes(0.08), volumes(0.0)
    failed = [check.metric for check in checked(Gate(), better, champion, facts(12)) if not check.holds]
    assert failed == ["sensitivity"]
    assert all(check.holds for check in checked(CtGate(), better, champion, facts(12)))
    worse = VolumeEvaluation(tuple(replace(row, nsd=row.nsd - 0.3) for row in better.rows if row.nsd))
    assert [check.metric for check in checked(CtGate(), worse, champion, facts(12)) if not check.holds] == ["nsd"]


@pytest.mark.parametrize("count", [71, 72])
def test_the_number_of_patients_that_is_enough(count: int) -> None:
    enough = 1 - 0.025 ** (1 / count) < 0.05
    positive = np.arange(2 * count) % 2 > 0
    assert (beyond_proof(Gate(), positive, names(2 * count)) is None) == enough


def test_patients_count_and_not_their_cases() -> None:
    assert beyond_proof(Gate(guarded={"sensitivity": 0.05}), np.ones(200, bool), names(20) * 10) is not None


def test_too_few_patients_show_nothing() -> None:
    words = beyond_proof(CtGate(), np.ones(6, bool), names(6))
    assert words is not None and "6 patients with cases: no interval for fewer than 10" in words
    words = beyond_proof(CtGate(), np.arange(30) < 8, names(30))
    assert words is not None and "Dice on positives: 8 patients with positives: no interval for fewer than 10" in words


def test_the_rule_in_a_file_of_volumes_replaces_what_it_names_only() -> None:
    assert CtGate(by=0.01).guarded == {"dice_positives": 0.05, "nsd": 0.05}
    assert CtGate.model_validate({"guarded": {"nsd": 0.1}}).guarded == {"nsd": 0.1}


@pytest.mark.parametrize(("config", "gate"), [("ct_bressem", CtGate()), ("ct_best", CtGate()), ("cxr_best", Gate())])
def test_each_track_has_its_own_rule(config: str, gate: Gate) -> None:
    assert load_experiment(ROOT / f"jobs/configs/{config}.yaml").gate == gate
