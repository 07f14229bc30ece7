"""One predictor of volumes: grids, orientations, spacings, mirrors, restriction, budget."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import save_bundle
from chestseg.config import VolumePostprocessing
from chestseg.inference.predictor import LiveModel
from chestseg.inference.volume_predictor import VolumePredictor
from tests.inference.tiny_volume import INFILTRATE, PREPROCESSING, SPACING, Smear, band, chest, tiny_network, tiny_spec

HU, LUNGS, TRUTH = chest()
CANONICAL = Volume(HU, Grid.upright(HU.shape, SPACING))  # type: ignore[arg-type]
VOXEL_ML = 0.064
NOISE = np.random.default_rng(0).integers(0, 256, (8, 32, 40), dtype=np.uint8)


def test_finds_what_is_there() -> None:
    found = VolumePredictor(band()).predict(CANONICAL)
    assert (found.mask == TRUTH).all() and found.mask.dtype == np.uint8 and found.present
    assert found.volume_ml == pytest.approx(TRUTH.sum() * VOXEL_ML)
    assert found.lung_ml == pytest.approx((LUNGS | TRUTH).sum() * VOXEL_ML, rel=0.02)
    assert found.probability > 0.9


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_mask_lies_on_the_sources_grid_in_every_orientation(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    affine = CANONICAL.grid.affine.copy()
    for axis in np.flatnonzero(flips):
        affine[:, 3] += affine[:, axis] * (HU.shape[axis] - 1)
        affine[:, axis] *= -1
    affine = affine[:, [*axes, 3]]
    turned = [np.ascontiguousarray(a[steps].transpose(axes)) for a in (HU, TRUTH)]
    found = VolumePredictor(band()).predict(Volume(turned[0], Grid(turned[0].shape, affine)))
    assert (found.mask == turned[1]).all()


@pytest.mark.parametrize("scale", [2, 3])
def test_finer_source_gets_its_own_resolution(scale: int) -> None:
    hu, _, truth = chest(scale)
    spacing = (SPACING[0] / scale, SPACING[1] / scale, SPACING[2] / scale)
    found = VolumePredictor(band()).predict(Volume(hu, Grid.upright(hu.shape, spacing)))  # type: ignore[arg-type]
    assert found.mask.shape == hu.shape
    assert 2 * found.mask[truth].sum() / (found.mask.sum() + truth.sum()) > 0.9
    assert found.volume_ml == pytest.approx(found.mask.sum() * VOXEL_ML / scale**3)


def test_prepared_image_gets_the_same_answer() -> None:
    hu, _, _ = chest(2)
    grid = Grid.upright(hu.shape, (2, 2, 2))  # type: ignore[arg-type]
    predictor = VolumePredictor(band())
    whole = predictor.predict(Volume(hu, grid))
    image = PREPROCESSING.to_uint8(HU)
    mask, probability = predictor.segment(image, grid.shape, grid.spacing)
    assert (mask == whole.mask).all() and probability == whole.probability


def test_small_lesions_go() -> None:
    larger, smaller = sorted(((TRUTH[:, :, 30:].sum(), TRUTH[:, :, :30].sum())), reverse=True)
    least = (larger + smaller) / 2 * VOXEL_ML
    found = VolumePredictor(band(min_lesion_ml=least)).predict(CANONICAL)
    assert found.mask.sum() == larger


def test_lungs_only_looks_nowhere_else() -> None:
    hu = HU.copy()
    hu[2:6, 20:24, 20:40] = INFILTRATE
    volume = Volume(hu, CANONICAL.grid)
    assert VolumePredictor(band()).predict(volume).mask[2:6, 20:24, 20:40].all()
    found = VolumePredictor(band(lungs_only=True)).predict(volume)
    assert (found.mask == TRUTH).all()


def test_without_lungs_nothing_is_restricted() -> None:
    hu = np.full((8, 30, 30), INFILTRATE, np.int16)
    found = VolumePredictor(band(lungs_only=True)).predict(Volume(hu, Grid.upright(hu.shape, SPACING)))  # type: ignore[arg-type]
    assert found.lung_ml is None and found.mask.mean() > 0.9


def test_mirrored_volume_gives_the_mirrored_map() -> None:
    network = Smear()
    flipping = VolumePredictor(LiveModel(network, PREPROCESSING, VolumePostprocessing(flip_tta=True)), precision="fp32")
    plain = VolumePredictor(LiveModel(network, PREPROCESSING, VolumePostprocessing()), precision="fp32")
    mirrored = np.ascontiguousarray(NOISE[..., ::-1])
    both = flipping.probabilities(NOISE)
    np.testing.assert_allclose(both, flipping.probabilities(mirrored)[..., ::-1], atol=1e-3)
    np.testing.assert_allclose(both, (plain.probabilities(NOISE) + plain.probabilities(mirrored)[..., ::-1]) / 2, atol=2e-3)


def test_equal_calls_give_equal_bits_and_training_goes_on() -> None:
    network = Smear().train()
    network.layers[1].eval()
    modes = [module.training for module in network.modules()]
    predictor = VolumePredictor(LiveModel(network, PREPROCESSING, VolumePostprocessing()), precision="fp32")
    assert (predictor.probabilities(NOISE) == predictor.probabilities(NOISE)).all()
    assert [module.training for module in network.modules()] == modes


def test_bundle_and_live_model_are_one(tmp_path: Path) -> None:
    network = tiny_network()
    saved = VolumePredictor(save_bundle(tmp_path / "bundle", tiny_spec(), network.state_dict()), device="cpu", precision="fp32")
    live = VolumePredictor(LiveModel(network, PREPROCESSING, VolumePostprocessing()), precision="fp32")
    np.testing.assert_allclose(live.probabilities(NOISE), saved.probabilities(NOISE), atol=1e-3)


def test_diverged_network_is_said() -> None:
    model = band()
    model.network.gain.data.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="not finite"):
        VolumePredictor(model).predict(CANONICAL)


def test_volume_beyond_the_budget_is_refused() -> None:
    with pytest.raises(ValueError, match=r"32x40x60 voxels, 32x40x60 for the network, needs \d\.\d GB, memory_gb is 0.01: raise"):
        VolumePredictor(band(), memory_gb=0.01).predict(CANONICAL)


def test_progress_is_told() -> None:
    steps: list[tuple[int, int]] = []
    VolumePredictor(band()).predict(CANONICAL, lambda done, count: steps.append((done, count)))
    assert steps[-1][0] == steps[-1][1] > 1
