"""Body and lungs of simple chests, and of real ones: no infiltrate may lie outside."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.window import to_grey
from chestseg.config import Spacing
from chestseg.inference.lungs import Chest, find_chest
from chestseg.nifti import read_nifti, read_nifti_labels
from tests.inference.tiny_volume import AIR, SPACING, TISSUE, WINDOW, chest


def found(hu: np.ndarray, spacing: Spacing = SPACING) -> Chest:
    return find_chest(to_grey(hu, WINDOW), spacing, WINDOW)


def share(inside: np.ndarray, mask: np.ndarray | None) -> float:
    assert mask is not None
    return float(mask[inside].mean())


@pytest.mark.parametrize("scale", [1, 3, 4])
def test_lungs_hold_air_and_pleural_infiltrates(scale: int) -> None:
    hu, lungs, infiltrates = chest(scale)
    answer = found(hu, (SPACING[0] / scale, SPACING[1] / scale, SPACING[2] / scale))
    assert answer.lungs is not None
    drawn = answer.drawn(answer.lungs)
    assert drawn.shape == hu.shape and drawn[lungs].mean() > 0.999 and drawn[infiltrates].mean() > 0.995
    assert not drawn[hu == AIR].any() and drawn.mean() < 0.7 * answer.drawn(answer.body).mean()
    aerated = answer.drawn(answer.air)
    assert (aerated ^ (lungs & ~infiltrates)).mean() < 0.02


def test_body_leaves_out_the_table() -> None:
    hu, _, _ = chest()
    wide = np.pad(hu, ((0, 0), (0, 40), (0, 0)), constant_values=AIR)
    wide[:, 70:71, 10:50] = TISSUE
    body = found(wide)
    assert body.drawn(body.body)[:, 5:35, 6:54].all() and not body.drawn(body.body)[:, 60:].any()


def test_open_skin_costs_lungs_but_not_the_body() -> None:
    hu, lungs, infiltrates = chest()
    hu[:, 5:12, 14:20] = AIR
    body = found(hu)
    assert body.drawn(body.body)[lungs | infiltrates].all()


@pytest.mark.parametrize("value", [AIR, TISSUE])
def test_no_chest(value: int) -> None:
    answer = found(np.full((6, 30, 30), value, np.int16))
    assert answer.lungs is None and answer.drawn(answer.body).all() == (value == TISSUE)


def test_bowel_is_no_lung() -> None:
    hu, _, _ = chest()
    hu[2:5, 20:24, 28:32] = AIR
    answer = found(hu)
    assert not answer.drawn(answer.air)[:6].any()


def test_real_infiltrates_lie_inside(real_data: Path) -> None:
    for image in sorted((real_data / "Dataset102_MedSegCovid" / "imagesTr").glob("*.nii.gz"))[:3]:
        label = image.parents[1] / "labelsTr" / image.name.replace("_0000", "")
        volume, truth = read_nifti(image).canonical(), read_nifti_labels(label).canonical().values > 0
        answer = found(volume.values, volume.grid.spacing)
        assert share(truth, answer.drawn(answer.body)) == 1
        assert answer.lungs is not None and share(truth, answer.drawn(answer.lungs)) > 0.995
