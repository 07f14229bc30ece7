"""Generated chest radiographs with and without pneumothorax: hard enough to train on, free to ship, seeded by one integer."""

import numpy as np
from numpy.typing import NDArray

from chestseg.phantoms.radiograph.render import render
from chestseg.phantoms.radiograph.scene import draw_scene

SIZES = (64, 4096)
"""Smallest and largest edge a phantom is drawn at."""


def make_phantom(seed: int, size: int = 1024, positive: bool = True) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make one phantom; equal arguments give equal bytes, and another size shows the same chest.

    Args:
        seed: any integer.
        size: edge length in pixels.
        positive: whether it has a pneumothorax.

    Returns:
        Picture uint8 (size, size), bright = dense, and mask uint8 {0, 1} (size, size) of the air between pleural line and chest wall.

    Raises:
        ValueError: a size that is not drawn.
    """
    check_size(size)
    return render(draw_scene(seed, positive), size)


def check_size(size: int) -> None:
    """Refuse a size at which nothing could be seen, or that would take minutes."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size {size}: phantoms are drawn from {SIZES[0]} to {SIZES[1]} pixels")
