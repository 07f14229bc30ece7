"""Resampling agrees with PyTorch's, keeps edges, types and values, and takes little memory."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn import functional

from chestseg.arrays.resample import resample_image, resample_mask, resampled_slices, shape_at

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.normal(0, 400, (7, 12, 10)).astype(np.float32)


@pytest.mark.parametrize("shape", [(13, 24, 31), (7, 13, 10), (8, 12, 10), (700, 12, 11)])
def test_growing_is_trilinear(shape):
    expected = functional.interpolate(torch.from_numpy(IMAGE)[None, None], shape, mode="trilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(resample_image(IMAGE, shape), expected, atol=0.02)


@pytest.mark.parametrize("shape", [(1, 6, 5), (7, 4, 2), (1, 1, 1)])
def test_shrinking_averages(shape):
    expected = functional.adaptive_avg_pool3d(torch.from_numpy(IMAGE)[None, None], shape)[0, 0].numpy()
    np.testing.assert_allclose(resample_image(IMAGE, shape), expected, atol=0.02)


def test_shrinking_by_a_fraction_weighs_by_overlap():
    image = np.array([0, 30, 60], np.float32)
    for axis in range(3):
        line = np.moveaxis(image.reshape(3, 1, 1), 0, axis)
        assert resample_image(line, tuple(2 if i == axis else 1 for i in range(3))).ravel() == pytest.approx([10, 50])


@pytest.mark.parametrize("shape", [(3, 30, 5), (20, 5, 30), (14, 6, 10), (3, 12, 10)])
def test_axes_are_resampled_each_by_itself(shape):
    one_by_one = IMAGE
    for axis in range(3):
        one_by_one = resample_image(one_by_one, (*shape[: axis + 1], *one_by_one.shape[axis + 1 :]))
    np.testing.assert_allclose(resample_image(IMAGE, shape), one_by_one, atol=0.02)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
@pytest.mark.parametrize("shape", [(3, 5, 4), (9, 20, 13), (3, 20, 4)])
def test_type_range_and_constants_are_kept(dtype, shape):
    image = RANDOM.integers(0, 255, (7, 12, 10)).astype(dtype) - (1000 if dtype == np.int16 else 0)
    resampled = resample_image(image, shape)
    assert resampled.dtype == dtype and resampled.shape == shape
    assert image.min() <= resampled.min() and resampled.max() <= image.max()
    constant = np.full_like(image, 113)
    np.testing.assert_allclose(resample_image(constant, shape), 113, rtol=1e-6)


def test_whole_numbers_are_rounded_not_cut():
    pair = np.array([-3, -4], np.int16).reshape(2, 1, 1)
    assert resample_image(pair, (4, 1, 1)).ravel().tolist() == [-3, -3, -4, -4]
    assert resample_image(np.array([0, 0, 2], np.uint8).reshape(3, 1, 1), (1, 1, 1)).item() == 1


def test_equal_shape_changes_nothing():
    mask = (IMAGE > 0).astype(np.uint8)
    assert resample_image(IMAGE, IMAGE.shape) is IMAGE
    assert resample_mask(mask, mask.shape) is mask


@pytest.mark.parametrize("shape", [(3, 6, 5), (14, 30, 11), (5, 24, 3)])
def test_a_mirrored_mask_resamples_to_the_mirror_image(shape):
    mask = (IMAGE > 0).astype(np.uint8)
    for axes in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in (1, 2, 3)):
        assert (resample_mask(np.flip(mask, axes), shape) == np.flip(resample_mask(mask, shape), axes)).all()


def test_a_mask_keeps_its_volume_and_place():
    mask = np.zeros((12, 64, 64), np.uint8)
    mask[3:9, 16:48, 20:40] = 1
    small = resample_mask(mask, (4, 32, 32))
    assert small.dtype == np.uint8 and set(np.unique(small)) == {0, 1}
    assert np.argwhere(small).min(0).tolist() == [1, 8, 10] and np.argwhere(small).max(0).tolist() == [2, 23, 19]
    assert (resample_mask(small, mask.shape) == mask).mean() > 0.97


@pytest.mark.parametrize("inside", [3, 6])
def test_half_inside_is_inside(inside):
    mask = np.zeros((2 * inside, 1, 1), np.uint8)
    mask[:inside] = 1
    assert resample_mask(mask, (1, 1, 1)).item() == 1
    mask[0] = 0
    assert resample_mask(mask, (1, 1, 1)).item() == 0


def test_slices_come_one_at_a_time():
    together = np.stack(list(resampled_slices(IMAGE, (4, 15, 5))))
    assert together.dtype == np.float32
    assert (together == resample_image(IMAGE, (4, 15, 5))).all()


def test_shape_at_covers_the_same_millimetres():
    assert shape_at((133, 512, 512), (2, 0.7, 0.7), (5, 1.4, 1.4)) == (53, 256, 256)
    assert shape_at((2, 512, 512), (1, 1, 1), (5, 1, 1)) == (1, 512, 512)


@pytest.mark.parametrize("shape", [(30, 180, 180), (120, 100, 300), (100, 320, 320)])
def test_memory_is_input_and_output_and_a_few_slices(shape):
    image = np.zeros((60, 256, 256), np.int16)
    tracemalloc.start()
    resampled = resample_image(image, shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - resampled.nbytes < 4e6
