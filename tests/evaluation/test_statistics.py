"""The scores with intervals are those of the summaries without."""

from dataclasses import asdict

import numpy as np
import pytest

from chestseg.evaluation.statistics import image_curves, score_statistics
from chestseg.metrics import CaseScore, summarise
from chestseg.metrics_volume import VolumeScore, summarise_volumes


def radiographs(count: int) -> list[CaseScore]:
    rng = np.random.default_rng(1)
    truth, found = rng.integers(0, 3, (2, count)) * 100
    dice = np.where((truth > 0) & (found > 0), rng.random(count), truth == found)
    return [
        CaseScore(f"c{n}", "siim", int(truth[n]), int(found[n]), float(dice[n]), float(dice[n] / 2), float(rng.random()))
        for n in range(count)
    ]


def volumes(count: int) -> list[VolumeScore]:
    rng, rows = np.random.default_rng(2), []
    for n in range(count):
        truth, found = (rng.integers(0, 3, 2) * 50.0).tolist()
        both, either = bool(truth and found), bool(truth or found)
        dice = float(rng.random()) if both else float(not either)
        hd95, nsd = (float(rng.random()) if there else None for there in (both, either))
        lesions = int(truth / 25)
        rows.append(
            VolumeScore(f"v{n}", "ricord", truth, found, found - truth, dice, dice, hd95, nsd, lesions, lesions // 2, int(found > 50))
        )
    return rows


@pytest.mark.parametrize(("rows", "summary"), [(r := radiographs(40), summarise(r)), (v := volumes(40), summarise_volumes(v))])
def test_values_are_the_summarys(rows: list, summary: object) -> None:
    expected = asdict(summary)  # type: ignore[call-overload]
    found = {name: float(score.estimate(np.ones((1, len(rows))))[0]) for name, score in score_statistics(rows).items()}
    assert {name: found[name] for name in expected if name in found} == pytest.approx({n: expected[n] for n in expected if n in found})
    assert set(expected) - set(found) == {"n", "n_positive"}
    assert set(found) - set(expected) == ({"auc", "brier"} if isinstance(rows[0], CaseScore) else set())


def test_curves_of_radiographs() -> None:
    curves = image_curves(radiographs(200))
    assert curves.roc is not None and sum(found.cases for found in curves.reliability) == 200
    assert curves.calibration_error is not None and 0 < curves.calibration_error < 1


def test_no_radiograph_no_curve() -> None:
    curves = image_curves([])
    assert (curves.roc, curves.reliability, curves.calibration_error) == (None, (), None)


def test_nan_probabilities_are_refused() -> None:
    rows = [CaseScore("good", "siim", 1, 1, 1.0, 1.0, 0.5), CaseScore("bad", "siim", 1, 1, 1.0, 1.0, float("nan"))]
    for work in (image_curves, score_statistics):
        with pytest.raises(ValueError, match="^bad: its probability is nan, not 0 to 1"):
            work(rows)
