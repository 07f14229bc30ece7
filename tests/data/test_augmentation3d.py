"""Augmentation of patches: decided by its seed alone, mask and image together, full to its corners."""

from dataclasses import replace

import numpy as np
import pytest

from chestseg.data.augmentation3d import Augmentation3D, Draws

PATCH = (12, 48, 48)
SPACING = (2.0, 1.0, 1.0)


def draws_of(seed: int, strength: float = 1.0, spacing: tuple[float, float, float] = SPACING) -> Draws:
    return Augmentation3D(strength, spacing).draw(np.random.default_rng(seed), PATCH)


def shape_for(draws: Draws) -> tuple[int, ...]:
    return tuple(length + 2 * more for length, more in zip(PATCH, draws.margin(PATCH), strict=True))


def ball(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A ball of 12 mm at the centre, bright on dark."""
    axes = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, SPACING, strict=True)), indexing="ij")
    mask = (sum(axis**2 for axis in axes) < 8**2).astype(np.uint8)
    return 40 + 160 * mask, mask


def test_equal_seeds_give_equal_patches_whatever_was_drawn_before() -> None:
    first = [draws_of(seed) for seed in range(20)]
    again = [draws_of(seed) for seed in reversed(range(20))][::-1]
    patches = []
    for one, other in zip(first, again, strict=True):
        image, mask = one.apply(*ball(shape_for(one)), PATCH)
        for found, expected in zip(other.apply(*ball(shape_for(other)), PATCH), (image, mask), strict=True):
            np.testing.assert_array_equal(found, expected)
        patches.append(image.tobytes())
    assert len(set(patches)) > 10


def test_mask_moves_with_the_image_and_stays_binary() -> None:
    for seed in range(40):
        draws = replace(draws_of(seed), grey=None, noise=None)
        image, mask = draws.apply(*ball(shape_for(draws)), PATCH)
        assert image.dtype == mask.dtype == np.uint8 and image.shape == mask.shape == PATCH
        assert set(np.unique(mask)) == {0, 1}
        bright = image > 120
        assert 2 * (bright & (mask > 0)).sum() / (bright.sum() + mask.sum()) > 0.9


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_no_corner_is_empty(strength: float) -> None:
    for seed in range(40):
        draws = replace(draws_of(seed, strength), grey=None, noise=None)
        shape = shape_for(draws)
        # What lies beyond the margin could only be seen as a repetition of this border.
        image = np.full(shape, 200, np.uint8)
        patch, mask = draws.apply(image, np.ones(shape, np.uint8), PATCH)
        assert patch.min() >= 199 and mask.all()


def test_strength_zero_changes_nothing() -> None:
    image, mask = ball(PATCH)
    draws = draws_of(3, strength=0.0)
    assert draws.margin(PATCH) == (0, 0, 0)
    for found, expected in zip(draws.apply(image, mask, PATCH), (image, mask), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_axes_are_mirrored_together() -> None:
    image = np.random.default_rng(0).integers(0, 256, PATCH, np.uint8)
    found, mask = Draws(flips=(0, 2)).apply(image, image & 1, PATCH)
    np.testing.assert_array_equal(found, image[::-1, :, ::-1])
    np.testing.assert_array_equal(mask, (image & 1)[::-1, :, ::-1])


def test_chances_and_magnitudes_grow_with_strength() -> None:
    def count(strength: float) -> int:
        return sum(draws_of(seed, strength).deformation is not None for seed in range(300))

    assert count(0.5) < count(1.0) < count(2.0)
    weak, strong = (np.mean([np.sum(draws_of(seed, s).margin(PATCH)) for seed in range(100)]) for s in (0.5, 2.0))
    assert weak < strong


def test_thick_slices_are_neither_tilted_nor_made_thicker() -> None:
    drawn = [draws_of(seed, spacing=(5.0, 1.0, 1.0)) for seed in range(200)]
    matrices = [draws.deformation.matrix for draws in drawn if draws.deformation]
    assert len(matrices) > 50
    assert all(not matrix[0, 1:].any() and not matrix[1:, 0].any() for matrix in matrices)
    assert {draws.shrink[0] for draws in drawn if draws.shrink} == {1.0}


def test_noise_has_the_deviation_asked_for() -> None:
    flat = np.full(PATCH, 128, np.uint8)
    image, _ = Draws(noise=(9.0, 5)).apply(flat, flat & 0, PATCH)
    assert image.std() == pytest.approx(9.0, rel=0.03) and image.mean() == pytest.approx(128, abs=0.3)


def test_blur_stays_within_slices() -> None:
    image, mask = np.zeros(PATCH, np.uint8), np.zeros(PATCH, np.uint8)
    image[6] = np.random.default_rng(0).integers(0, 256, PATCH[1:], np.uint8)
    blurred, _ = Draws(blur=1.0).apply(image, mask, PATCH)
    assert not np.delete(blurred, 6, axis=0).any() and blurred[6].std() < image[6].std() / 2


def test_lower_resolution_keeps_shape_place_and_mean() -> None:
    image, mask = ball(PATCH)
    found, _ = Draws(shrink=(0.5, 0.5)).apply(image, mask, PATCH)
    assert found.shape == PATCH and found.mean() == pytest.approx(image.mean(), rel=0.02)
    assert 2 * ((found > 120) & (mask > 0)).sum() / ((found > 120).sum() + mask.sum()) > 0.9
    assert np.abs(np.diff(found.astype(int), axis=2)).max() < np.abs(np.diff(image.astype(int), axis=2)).max()


def test_grey_levels_stay_in_order() -> None:
    tables = [draws.grey for draws in map(draws_of, range(100)) if draws.grey is not None]
    assert 20 < len(tables) < 80
    for table in tables:
        assert table.dtype == np.uint8 and (np.diff(table.astype(int)) >= 0).all() and np.ptp(table) > 150
    image, mask = ball(PATCH)
    np.testing.assert_array_equal(Draws(grey=tables[0]).apply(image, mask, PATCH)[0], tables[0][image])
