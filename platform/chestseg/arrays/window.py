"""From Hounsfield units to the 256 grey levels everything after preparation sees."""

import numpy as np

GREYS = 255


def to_grey(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Clip to a window and scale it to 0..255, rounding to the nearest level.

    Args:
        hu: (D, H, W) HU of any real type, finite; a view will do.
        window: the HU of grey 0 and of grey 255; padding below it is air.

    Returns:
        C-contiguous uint8 array of the same shape. Beyond it, no more than a slice is in memory.
    """
    low, high = window
    grey = np.empty(hu.shape, np.uint8)
    for values, levels in zip(hu, grey, strict=True):
        np.rint((np.clip(values, low, high, dtype=np.float64) - low) / (high - low) * GREYS, out=levels, casting="unsafe")
    return grey
