"""Components by their volume."""

import numpy as np
import pytest

from chestseg.inference.lesions import remove_small


@pytest.fixture
def mask() -> np.ndarray:
    """Components of 1, 8, 12 and, joined at a corner, 2 voxels."""
    mask = np.zeros((10, 20, 20), np.uint8)
    mask[0, 0, 0] = 1
    mask[2:4, 2:4, 2:4] = 1
    mask[5, 5:8, 5:9] = 1
    mask[8, 12, 12] = mask[9, 13, 13] = 1
    return mask


@pytest.mark.parametrize(("least_ml", "left"), [(0, 23), (0.01, 23), (0.02, 22), (0.03, 20), (0.08, 20), (0.081, 12), (1, 0)])
def test_smaller_ones_go_and_equal_ones_stay(mask: np.ndarray, least_ml: float, left: int) -> None:
    remove_small(mask, 0.01, least_ml)
    assert mask.sum() == left and mask.dtype == np.uint8


def test_nothing_to_remove() -> None:
    empty = np.zeros((3, 4, 5), np.uint8)
    remove_small(empty, 1, 1)
    assert not empty.any()
