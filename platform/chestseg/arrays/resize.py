"""Resizing of images and masks, the same way in preparing, training and serving."""

import cv2
import numpy as np


def resize_image(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize a grey image: averages over areas where it shrinks, interpolates linearly where it grows.

    Args:
        image: (H, W), uint8 or float32.
        size: edge of a square or (rows, columns), in pixels.

    Returns:
        Array of the wanted size and the same dtype; `image` itself when it already has that size.
    """
    assert image.ndim == 2 and image.dtype in (np.uint8, np.float32), (image.shape, image.dtype)
    shape = _shape(size)
    if image.shape == shape:
        return image
    shrinks = shape[0] < image.shape[0] or shape[1] < image.shape[1]
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_mask(mask: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize a mask by its nearest pixels, measured between pixel centres, so it stays on its image and gains no new values.

    Args:
        mask: (H, W), uint8 or bool.
        size: edge of a square or (rows, columns), in pixels.

    Returns:
        uint8 array of the wanted size; `mask` itself when it already is one.
    """
    assert mask.ndim == 2 and mask.dtype in (np.uint8, np.bool_), (mask.shape, mask.dtype)
    mask, shape = mask.astype(np.uint8, copy=False), _shape(size)
    if mask.shape == shape:
        return mask
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _shape(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
