"""Lesions of a mask by their size."""

import numpy as np
from scipy import ndimage


def remove_small(mask: np.ndarray, voxel_ml: float, least_ml: float) -> None:
    """Clear the connected components (26 neighbours) of less than `least_ml` millilitres.

    Beside the mask, four bytes a voxel of the box around all components are in memory.

    Args:
        mask: uint8 (D, H, W) of 0 and 1, changed in place.
        voxel_ml: volume of a voxel.
        least_ml: a component as large as this stays.
    """
    boxes = ndimage.find_objects(mask) if least_ml > 0 else []
    if not boxes:
        return
    inside = mask[boxes[0]]
    labels, voxels = label_lesions(inside)
    kept = voxels * voxel_ml >= least_ml
    for plane, target in zip(labels, inside, strict=True):
        target *= kept[plane]


def label_lesions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected components (26 neighbours) of a mask (D, H, W).

    Returns:
        int32 (D, H, W), 0 outside and 1 to n; and int64 (n + 1,), the voxels of each number.
    """
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, np.ones((3, 3, 3)), output=labels)
    assert isinstance(count, int)
    # A slice at a time: bincount would make whole numbers of eight bytes of them all.
    return labels, sum((np.bincount(plane.ravel(), minlength=count + 1) for plane in labels), np.zeros(count + 1, np.int64))
