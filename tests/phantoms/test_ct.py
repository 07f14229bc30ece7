"""CT phantoms: the same bytes from the same seed, the look of a chest CT, and a task that no threshold solves."""

import cv2
import numpy as np
import pytest

from chestseg.arrays.resample import resample_mask
from chestseg.metrics import dice
from chestseg.phantoms.ct.chest import SIDES, draw_chest
from chestseg.phantoms.ct.decoys import draw_decoys
from chestseg.phantoms.ct.infiltrates import draw_infiltrates
from chestseg.phantoms.ct.make import CtPhantom, make_ct_phantom
from chestseg.phantoms.ct.organs import lay_out_organs

SHAPE, SPACING = (16, 64, 64), (17.0, 5.2, 5.2)
SMALL = {"shape": (8, 40, 40), "spacing": (33.0, 8.0, 8.0)}
EDGES = np.arange(-1024, 480, 32)


@pytest.fixture(scope="module")
def positives() -> list[CtPhantom]:
    return [make_ct_phantom(seed, SHAPE, SPACING) for seed in range(12)]


def test_equal_arguments_give_equal_bytes_and_another_seed_another_chest():
    one, again, other = (make_ct_phantom(seed, **SMALL) for seed in (3, 3, 4))
    assert one.volume.values.tobytes() == again.volume.values.tobytes()
    assert one.mask.tobytes() == again.mask.tobytes()
    assert np.array_equal(one.volume.grid.affine, again.volume.grid.affine)
    assert np.mean(one.volume.values != other.volume.values) > 0.5


def test_volume_and_masks_have_the_promised_form():
    phantom = make_ct_phantom(5, (6, 40, 48), (40.0, 8.0, 7.0))
    assert phantom.volume.values.shape == phantom.mask.shape == phantom.lungs.shape == (6, 40, 48)
    assert phantom.volume.values.dtype == np.int16
    assert phantom.mask.dtype == phantom.lungs.dtype == np.uint8
    assert phantom.volume.grid.spacing == pytest.approx((40, 8, 7))
    assert phantom.volume.canonical().grid.matches(phantom.volume.grid, 1e-6)
    assert phantom.volume.values.min() >= -1024
    assert phantom.volume.values.max() <= 3071


def test_without_infiltrates_it_is_the_same_chest():
    ill, well = make_ct_phantom(5, **SMALL), make_ct_phantom(5, positive=False, **SMALL)
    assert ill.mask.any()
    assert not well.mask.any()
    assert dice(ill.lungs, well.lungs) > 0.9


def test_infiltrates_lie_in_the_lungs_and_are_never_missing(positives: list[CtPhantom]):
    assert all(phantom.mask.any() for phantom in positives)
    assert all((phantom.mask <= phantom.lungs).all() for phantom in positives)


def test_tissues_have_their_hu(positives: list[CtPhantom]):
    for phantom in positives:
        values, healthy = phantom.volume.values, (phantom.lungs > 0) & (phantom.mask == 0)
        assert -900 < np.median(values[healthy]) < -620
        assert np.median(values[:, :2]) == pytest.approx(-1000, abs=25)
        body = values[values > -200]
        assert np.mean((body > 20) & (body < 80)) > 0.2
        assert np.mean((body > -130) & (body < -70)) > 0.1
        assert np.percentile(body, 99) > 250


def test_lungs_are_two_of_human_size_air_filled_and_whole(positives: list[CtPhantom]):
    for phantom in positives:
        litres = phantom.lungs.sum() * phantom.volume.grid.voxel_ml / 1000
        assert 2 < litres < 6
        right, left = (half.sum() for half in np.array_split(phantom.lungs, 2, axis=2))
        assert 0.6 < right / left < 1.7
        assert not phantom.lungs[-1].any()
        assert not phantom.lungs[:, [0, -1]].any()
        assert not phantom.lungs[:, :, [0, -1]].any()


def test_infiltrates_are_ground_glass_to_consolidation(positives: list[CtPhantom]):
    dense = np.array([np.median(p.volume.values[p.mask > 0]) for p in positives])
    assert dense.min() > -760
    assert dense.max() < 60
    assert np.ptp(dense) > 80


def test_infiltrates_vary_in_volume_and_lie_on_both_sides(positives: list[CtPhantom]):
    millilitres = [p.mask.sum() * p.volume.grid.voxel_ml for p in positives]
    assert min(millilitres) < 60
    assert max(millilitres) > 150
    both = [all(half.any() for half in np.array_split(p.mask, 2, axis=2)) for p in positives]
    assert sum(both) >= 6


def test_infiltrates_are_mostly_low_at_the_back_and_under_the_pleura():
    found = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        chest = draw_chest(rng)
        found += [(one, chest) for one in draw_infiltrates(rng, chest, lay_out_organs(rng, chest))]
    assert np.mean([one.centre[2] < 0.5 * chest.length for one, chest in found]) > 0.6
    assert np.mean([one.angle < np.pi / 2 for one, _ in found]) > 0.6
    assert np.mean([one.follows_wall for one, _ in found]) > 0.4
    assert {one.kind for one, _ in found} == {"ground glass", "crazy paving", "consolidation"}
    assert {one.side for one, _ in found} == set(SIDES)


@pytest.mark.parametrize("where", ["volume", "box", "lungs"])
def test_the_best_global_range_of_hu_fails(positives: list[CtPhantom], where: str):
    """Of all ranges from one bound to another, one-sided ones among them, the best by its mean over the phantoms."""
    scores = []
    for phantom in positives:
        chosen = np.ones(SHAPE, bool) if where == "volume" else phantom.lungs > 0
        if where == "box":
            slices, rows, columns = (slice(at.min(), at.max() + 1) for at in np.nonzero(phantom.lungs))
            chosen[slices, rows, columns] = True
        values, mask = phantom.volume.values.clip(EDGES[0], EDGES[-1]), phantom.mask > 0
        every, hit = (np.append(0, np.histogram(values[part], EDGES)[0].cumsum()) for part in (chosen, chosen & mask))
        low, high = np.triu_indices(len(EDGES), 1)
        scores.append(2 * (hit[high] - hit[low]) / (every[high] - every[low] + mask.sum()))
    assert np.mean(scores, axis=0).max() < 0.3


def test_vessels_go_on_through_ground_glass():
    """The same lung with and without its infiltrates: what is bright and fine there stays."""
    kept = []
    for seed in range(4):
        ill, well = (make_ct_phantom(seed, (8, 96, 96), (33.0, 3.4, 3.4), positive) for positive in (True, False))
        for index in range(8):
            hu, healthy = ill.volume.values[index].astype(np.float32), well.volume.values[index].astype(np.float32)
            glass = (ill.mask[index] > 0) & (cv2.GaussianBlur(hu, (0, 0), 3) < -420)
            if glass.sum() > 40:
                fine = [picture - cv2.GaussianBlur(picture, (0, 0), 2.5) for picture in (hu, healthy)]
                kept.append(np.corrcoef(fine[0][glass], fine[1][glass])[0, 1])
    assert len(kept) > 1
    assert np.median(kept) > 0.4


def test_another_grid_shows_the_same_chest():
    coarse = make_ct_phantom(7, (12, 48, 48), (24.0, 7.2, 7.2))
    fine = make_ct_phantom(7, (24, 96, 96), (12.0, 3.6, 3.6))
    assert dice(resample_mask(fine.lungs, (12, 48, 48)), coarse.lungs) > 0.93
    assert dice(resample_mask(fine.mask, (12, 48, 48)), coarse.mask) > 0.75


def test_a_small_field_of_view_shrinks_the_chest():
    phantom = make_ct_phantom(2, (16, 48, 48), (5.0, 2.0, 2.0))
    assert phantom.lungs.any()
    assert phantom.mask.any()
    assert not phantom.lungs[:, :, [0, -1]].any()


def test_look_alikes_vary():
    rng = np.random.default_rng(0)
    chest = draw_chest(rng)
    organs = lay_out_organs(rng, chest)
    decoys = [draw_decoys(rng, chest, organs, positive=False) for _ in range(24)]
    assert all(any(getattr(one, name) for one in decoys) for name in ("plates", "nodules", "effusions", "scar", "bullae", "motion"))
    assert any(one.dependent[0] for one in decoys)
    assert any(not one.effusions and not one.plates for one in decoys)


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [
        ((2, 64, 64), (5.0, 2.0, 2.0), r"shape \(2, 64, 64\): phantoms are drawn from"),
        ((8, 64, 64), (5.0, 0.0, 2.0), r"spacing \(5.0, 0.0, 2.0\): give millimetres"),
        ((8, 64, 64), (5.0, 2.0, 200.0), "spacing"),
    ],
)
def test_a_grid_that_shows_nothing_is_refused(shape: tuple, spacing: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        make_ct_phantom(0, shape, spacing)
