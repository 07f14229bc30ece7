"""Tables of components against cutting the map and removing what is small."""

import itertools
from math import prod
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.grid import MM3_PER_ML
from chestseg.config import VolumePostprocessing
from chestseg.evaluation.choose_volumes import VolumeCandidates, count_volumes, volume_rule_of, volume_surface
from chestseg.inference.lesions import remove_small
from chestseg.metrics import dice
from tests.evaluation.caches import SPACING, of_volumes, random_case, write_made

VOXEL_ML = prod(SPACING) / MM3_PER_ML
FEW = VolumeCandidates(threshold=(0.1, 0.35, 0.8, 0.99), min_lesion_ml=(0, VOXEL_ML, 3 * VOXEL_ML, 0.1, 5))


def test_every_rule_scores_as_it_does_when_applied(tmp_path: Path) -> None:
    cases = [random_case(seed, (6 + seed, 12, 14)) for seed in range(12)]
    counts = count_volumes([write_made(tmp_path, cases, of_volumes(12))], FEW)
    found = volume_surface(counts)
    for threshold, least in itertools.product(*map(range, counts.dice.shape[1:])):
        rule = found.candidate((threshold, least))
        masks = [(case.probabilities >= rule["threshold"]).astype(np.uint8) for case in cases]
        for mask in masks:
            remove_small(mask, VOXEL_ML, rule["min_lesion_ml"])
        expected = [dice(mask, case.truth) for mask, case in zip(masks, cases, strict=True)]
        assert counts.dice[:, threshold, least].tolist() == expected
        assert found.scores["mean_dice"][threshold, least] == pytest.approx(np.mean(expected), abs=1e-12)
        empty = [not mask.any() for mask, case in zip(masks, cases, strict=True) if not case.truth.any()]
        assert found.scores["specificity"][threshold, least] == pytest.approx(np.mean(empty), abs=1e-12)


def test_a_map_of_zeros_and_one_of_ones(tmp_path: Path) -> None:
    full = random_case(1, (6, 6, 6))._replace(probabilities=np.ones((6, 6, 6), np.float16))
    cases = [full, random_case(3, (6, 6, 6))._replace(probabilities=np.zeros((6, 6, 6), np.float16))]
    counts = count_volumes([write_made(tmp_path, cases, of_volumes(2))], FEW)
    assert (counts.area[0, :, :-1] == 216).all() and (counts.area[0, :, -1] == 0).all() and not counts.area[1].any()
    assert (counts.dice[1] == 1).all()


def test_rule_keeps_what_shaped_the_probabilities() -> None:
    made_with = VolumePostprocessing(flip_tta=True, lungs_only=True, overlap=0.5)
    rule = volume_rule_of({"threshold": 0.35, "min_lesion_ml": 0.1}, made_with)
    assert rule == made_with.model_copy(update={"threshold": 0.35, "min_lesion_ml": 0.1})
