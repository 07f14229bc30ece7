"""Tables against the rule itself: every candidate, every case."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Postprocessing
from chestseg.evaluation.choose_radiographs import Candidates, count, rule_of, surface
from chestseg.inference.postprocess import apply
from chestseg.metrics import dice, score_case, summarise
from tests.evaluation.caches import Made, origin, random_case, write_made

FEW = Candidates(
    threshold=(0.05, 0.3, 0.5, 0.77),
    top_threshold=(0.3, 0.6, 0.95),
    min_area=(0, 1024, 20_000, 90_000),
    min_area_mm2=(0, 150, 2000, 9000),
    empty_threshold=(0, 0.25, 0.6),
)


def dices(cases: Sequence[Made], rule: Postprocessing) -> list[float]:
    return [dice(apply(case.probabilities, case.disease, rule, shown_mm2=case.shown_mm2), case.truth) for case in cases]


@pytest.mark.parametrize(("head", "spaced"), [(False, 0.0), (True, 0.0), (False, 1.0), (True, 0.7)])
def test_every_rule_scores_as_it_does_when_applied(tmp_path: Path, head: bool, spaced: float) -> None:
    cases = [random_case(seed, head=head, spaced=spaced) for seed in range(40)]
    counts = count([write_made(tmp_path, cases, origin(len(cases)))])
    found = surface(counts, FEW)
    assert list(found.axes) == ["threshold", "top_threshold", "min_area_mm2" if spaced else "min_area", "empty_threshold"]
    checked = 0
    for place in itertools.product(*(range(len(values)) for values in found.axes.values())):
        candidate = found.candidate(place)
        if candidate["top_threshold"] < candidate["threshold"]:
            assert all(np.isnan(values[place]) for values in found.scores.values())
            continue
        rule = rule_of(candidate, counts, Postprocessing(flip_tta=False))
        assert counts.dice(rule).tolist() == dices(cases, rule)
        masks = [apply(case.probabilities, case.disease, rule, shown_mm2=case.shown_mm2) for case in cases]
        expected = summarise([score_case(c.case_id, "", mask, c.truth, 0.0) for c, mask in zip(cases, masks, strict=True)]).metrics()
        expected = {name: value for name, value in expected.items() if name in found.scores}
        assert found.at(place) == pytest.approx(expected, abs=1e-12)
        checked += 1
    assert checked == 9 * 4 * (3 if head else 1)


def test_random_rules_to_the_last_bit(tmp_path: Path) -> None:
    cases = [random_case(seed, head=True, spaced=0.5) for seed in range(60)]
    counts = count([write_made(tmp_path, cases, origin(len(cases)))])
    random = np.random.default_rng(3)
    for _ in range(100):
        low, top = sorted(random.integers(1, 100, 2))
        rule = Postprocessing(
            threshold=low / 100,
            top_threshold=random.choice([None, top / 100]),
            min_area=float(random.choice([0, 1024, random.integers(0, 99_999)])),
            min_area_mm2=random.choice([None, float(random.integers(0, 9999))]),
            empty_threshold=random.choice([None, 0.4]),
        )
        assert counts.dice(rule).tolist() == dices(cases, rule)


def test_a_case_without_a_spacing_is_judged_in_pixels_of_the_median_image(tmp_path: Path) -> None:
    cases = [random_case(seed, spaced=1)._replace(shown_mm2=mm2) for seed, mm2 in enumerate((100_000.0, 120_000.0, 150_000.0, None))]
    counts = count([write_made(tmp_path, cases, origin(4))])
    rule = rule_of({"threshold": 0.3, "top_threshold": 0.3, "min_area_mm2": 150.0, "empty_threshold": 0.0}, counts, Postprocessing())
    assert (rule.min_area_mm2, rule.min_area) == (150.0, round(150 * 1024**2 / 120_000))
    assert (rule.top_threshold, rule.empty_threshold) == (None, None)


def test_where_few_spacings_are_credible_areas_are_pixels(tmp_path: Path) -> None:
    cases = [random_case(seed)._replace(shown_mm2=1e5 if seed < 4 else None) for seed in range(9)]
    assert "min_area" in surface(count([write_made(tmp_path, cases, origin(9))]), FEW).axes
