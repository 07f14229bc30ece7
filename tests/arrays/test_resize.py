"""Resizing keeps dtype, values and the place of things."""

import numpy as np
import pytest

from chestseg.arrays.resize import resize_image, resize_mask


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shrinking_averages_areas_and_keeps_the_dtype(dtype):
    image = np.array([[0, 100, 10, 30], [100, 200, 30, 50]], dtype=dtype)
    small = resize_image(image, (1, 2))
    assert small.dtype == dtype
    assert small.tolist() == [[100, 30]]


def test_growing_interpolates_between_pixels():
    grown = resize_image(np.array([[0.0, 1.0]], dtype=np.float32), (1, 4))
    assert grown.tolist() == [[0.0, 0.25, 0.75, 1.0]]


def test_equal_size_changes_nothing():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert resize_image(image, 4) is image
    assert resize_mask(image, (4, 4)) is image


def test_sizes_are_rows_then_columns():
    image = np.zeros((8, 4), np.uint8)
    assert resize_image(image, (2, 6)).shape == (2, 6)
    assert resize_mask(image, (2, 6)).shape == (2, 6)


def test_a_mask_stays_centred_and_gains_no_values():
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    small = resize_mask(mask, 8)
    assert small.dtype == np.uint8
    assert set(np.unique(small)) == {0, 1}
    assert np.array_equal(small, small[::-1, ::-1])
    assert np.array_equal(resize_mask(small, 32), mask)
