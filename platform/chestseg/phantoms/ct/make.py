"""Generated chest CTs with and without infiltrates: hard enough to train on, free to ship, seeded by one integer."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.config.stage import Spacing, Triple
from chestseg.phantoms.ct.render import render
from chestseg.phantoms.ct.scene import draw_scene
from chestseg.seed import seed_for

SHAPE: Triple = (48, 160, 160)
SPACING: Spacing = (5.0, 2.0, 2.0)
LEAST_SHAPE: Triple = (4, 24, 24)
LARGEST_SPACING = 50.0


class CtPhantom(NamedTuple):
    """A volume and what is in it; all three (slices, rows, columns) in canonical order."""

    volume: Volume
    """HU int16, -1024 to 3071."""
    mask: NDArray[np.uint8]
    """Infiltrates, vessels inside them included: 0 or 1."""
    lungs: NDArray[np.uint8]
    """Both lungs, infiltrates and vessels included, effusion and central airways not: 0 or 1."""


def make_ct_phantom(seed: int, shape: Triple = SHAPE, spacing: Spacing = SPACING, positive: bool = True) -> CtPhantom:
    """Make one phantom; equal arguments give equal bytes, and another grid shows the same chest.

    The chest lies in the middle of the field of view, lungs whole; it is shrunk where the field of view is smaller than a chest
    (about 330 mm across and 280 mm high). The volume's origin is off zero, as a scanner's.

    Args:
        seed: any integer.
        shape: slices, rows, columns.
        spacing: millimetres between slices, rows and columns.
        positive: whether it has infiltrates.

    Raises:
        ValueError: a shape or spacing that is not drawn.
    """
    check_grid(shape, spacing)
    values, mask, lungs = render(draw_scene(seed, positive), shape, spacing)
    depth, height, width = ((n - 1) * s / 2 for n, s in zip(shape, spacing, strict=True))
    corner = np.random.default_rng(seed_for("ct origin", seed)).uniform((-9, -160, -300), (9, -120, -60))
    x, y, z = np.round(corner - (width, height, depth), 2).tolist()
    return CtPhantom(Volume(values, Grid.upright(shape, spacing, (x, y, z))), mask, lungs)


def check_grid(shape: Triple, spacing: Spacing) -> None:
    """Refuse a grid on which nothing could be seen."""
    if len(shape) != 3 or any(n < least for n, least in zip(shape, LEAST_SHAPE, strict=True)):
        raise ValueError(f"shape {tuple(shape)}: phantoms are drawn from {LEAST_SHAPE} voxels along slices, rows and columns")
    if len(spacing) != 3 or not all(0 < s <= LARGEST_SPACING for s in spacing):
        raise ValueError(f"spacing {tuple(spacing)}: give millimetres above 0 and up to {LARGEST_SPACING:g} along slices, rows and columns")
