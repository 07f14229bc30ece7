"""HU become grey levels by one formula, whatever their type."""

import numpy as np
import pytest

from chestseg.arrays.window import to_grey

WINDOW = (-1000.0, 400.0)


@pytest.mark.parametrize(
    ("hu", "grey"), [(-3024, 0), (-1000, 0), (-998, 0), (-997, 1), (-300, 128), (397, 254), (398, 255), (400, 255), (3071, 255)]
)
def test_levels(hu: int, grey: int) -> None:
    assert to_grey(np.full((1, 1, 1), hu, np.int16), WINDOW).tolist() == [[[grey]]]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_is_the_formula_for_every_type(dtype: type) -> None:
    hu = np.arange(-3000, 3000).reshape(3, 20, 100).astype(dtype)
    wanted = np.rint((np.clip(hu.astype(float), *WINDOW) + 1000) / 1400 * 255).astype(np.uint8)
    assert np.array_equal(to_grey(hu, WINDOW), wanted) and np.array_equal(hu, np.arange(-3000, 3000).reshape(hu.shape))


def test_views_become_contiguous() -> None:
    hu = np.arange(-1200, 1200).reshape(4, 20, 30).astype(np.int16)
    grey = to_grey(hu.transpose(2, 0, 1)[::-1], WINDOW)
    assert grey.flags.c_contiguous and grey.dtype == np.uint8
    assert np.array_equal(grey, to_grey(hu, WINDOW).transpose(2, 0, 1)[::-1])
