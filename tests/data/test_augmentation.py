"""Augmentation is decided by its seed alone and moves mask and image together."""

import numpy as np

from chestseg.data.augmentation import Augmentation


def disc(size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size]
    mask = ((y - 40) ** 2 + (x - 55) ** 2 < 20**2).astype(np.uint8)
    return mask * 200, mask


def test_equal_seeds_give_equal_pixels_whatever_was_drawn_before() -> None:
    image, mask = disc()
    augment = Augmentation(1.0)
    first = [augment(image, mask, seed) for seed in range(20)]
    again = [Augmentation(1.0)(image, mask, seed) for seed in reversed(range(20))][::-1]
    for (a, b), (c, d) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert len({a.tobytes() for a, _ in first}) > 10


def test_mask_moves_with_the_image_and_stays_binary() -> None:
    image, mask = disc()
    for seed in range(40):
        moved, moved_mask = Augmentation(1.0)(image, mask, seed)
        assert moved.dtype == moved_mask.dtype == np.uint8 and moved.shape == image.shape
        assert set(np.unique(moved_mask)) <= {0, 1}
        if moved_mask.any():
            bright = moved > 60
            assert 2 * (bright & (moved_mask > 0)).sum() / (bright.sum() + moved_mask.sum()) > 0.9


def test_strength_zero_changes_nothing() -> None:
    image, mask = disc()
    assert Augmentation(0.0)(image, mask, 1)[0] is image
