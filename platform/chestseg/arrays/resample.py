"""Resampling of volumes to other spacings: averages over an axis that shrinks, interpolates linearly along one that grows.

The outer edges of the first and last voxel stay where they are, not their centres, as in `torch.nn.functional.interpolate` with
`align_corners=False`. Slices are made one at a time from the few source slices that each needs, so memory is that of input and output.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np

HALF = 0.5 - 1e-5
"""Half of a voxel, after the rounding of sums: a mask's mirror image resamples to the mirror image."""


def shape_at(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], new_spacing: tuple[float, float, float]
) -> tuple[int, int, int]:
    """Voxels along each axis that cover the same millimetres at another spacing, to the nearest whole number; at least one."""
    slices, rows, columns = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing, new_spacing, strict=True))
    return slices, rows, columns


def resample_image(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Resample grey levels, HU or probabilities.

    Args:
        values: (slices, rows, columns), uint8, int16, float16 or float32.
        shape: (slices, rows, columns) wanted.

    Returns:
        Array of the wanted shape and the same type, whole numbers rounded; `values` itself when it already has that shape.
    """
    assert values.dtype in (np.uint8, np.int16, np.float16, np.float32), values.dtype
    if values.shape == shape:
        return values
    resampled = np.empty(shape, values.dtype)
    for target, found in zip(resampled, resampled_slices(values, shape), strict=True):
        target[...] = found if values.dtype.kind == "f" else np.rint(found)
    return resampled


def resample_mask(mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Resample a mask: a voxel is inside where at least half of it is, by the same averages and interpolation as an image's.

    Args:
        mask: (slices, rows, columns) uint8 of 0 and 1.
        shape: (slices, rows, columns) wanted.

    Returns:
        uint8 of 0 and 1; `mask` itself when it already has that shape.
    """
    assert mask.dtype == np.uint8, mask.dtype
    if mask.shape == shape:
        return mask
    resampled = np.empty(shape, np.uint8)
    for target, found in zip(resampled, resampled_slices(mask, shape), strict=True):
        np.greater_equal(found, HALF, out=target, casting="unsafe")
    return resampled


def resampled_slices(values: np.ndarray, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """The slices of `values` resampled to `shape`, one after the other, each float32 (rows, columns) and not rounded.

    For callers that keep less than the whole: a threshold of probabilities needs no map at the source's size.
    """
    assert values.ndim == 3 and min(*values.shape, *shape) > 0, (values.shape, shape)
    planes: dict[int, np.ndarray] = {}
    for first, weights in _contributions(len(values), shape[0]):
        needed = range(first, first + len(weights))
        planes = {i: planes[i] if i in planes else _resize(values[i], shape[1:]) for i in needed}
        found = weights[0] * planes[first]
        for i, weight in zip(needed[1:], weights[1:], strict=True):
            found += weight * planes[i]
        yield found


def _contributions(old: int, new: int) -> Iterator[tuple[int, np.ndarray]]:
    """For each new voxel of an axis, the first old one it takes from and the float32 weights, with a sum of 1, from there on."""
    scale = old / new
    for place in range(new):
        if new > old:
            centre = min(max((place + 0.5) * scale - 0.5, 0), old - 1)
            first = math.floor(centre)
            share = centre - first
            yield first, np.array([1 - share, share] if share else [1], np.float32)
        else:
            # In whole numbers: an edge that falls on an edge takes nothing from the voxel behind it.
            first, last = place * old // new, -((place + 1) * old // -new)
            edges = np.clip(np.arange(first, last + 1), place * scale, (place + 1) * scale)
            yield first, (np.diff(edges) / scale).astype(np.float32)


def _resize(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A slice at another size, float32; where one axis shrinks and the other grows, the one that shrinks goes first."""
    plane = plane.astype(np.float32)
    smaller = (min(plane.shape[0], shape[0]), min(plane.shape[1], shape[1]))
    if plane.shape != smaller:
        plane = cv2.resize(plane, smaller[::-1], interpolation=cv2.INTER_AREA)
    if plane.shape != shape:
        plane = cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return plane
