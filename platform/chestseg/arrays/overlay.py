"""Masks drawn over a radiograph, in colours that colour-blind readers tell apart."""

import cv2
import numpy as np

# Orange and sky blue of Okabe and Ito's palette (Color Universal Design, 2008).
PREDICTION = (230, 159, 0)
TRUTH = (86, 180, 233)
FILL = 0.3
LINE_SHARE = 1 / 256


def overlay(image: np.ndarray, mask: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Draw a predicted mask, filled and outlined in orange, and the true one, outlined in sky blue.

    Args:
        image: (H, W) uint8.
        mask: (H, W); any value but 0 is foreground.
        truth: as `mask`, or None where it is not known.

    Returns:
        (H, W, 3) uint8 RGB; a copy of the image where both masks are empty.
    """
    assert image.ndim == 2 and image.dtype == np.uint8 and mask.shape == image.shape, (image.shape, image.dtype, mask.shape)
    picture = np.repeat(image[:, :, None], 3, axis=2)
    inside = mask != 0
    picture[inside] = (picture[inside] * (1 - FILL) + np.array(PREDICTION) * FILL).round().astype(np.uint8)
    _outline(picture, mask, PREDICTION)
    if truth is not None:
        assert truth.shape == image.shape, (image.shape, truth.shape)
        _outline(picture, truth, TRUTH)
    return picture


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    width = max(1, round(max(mask.shape) * LINE_SHARE))
    contours, _ = cv2.findContours((mask != 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, width)
