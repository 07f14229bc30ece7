"""A source of small NIfTI volumes with masks."""

from pathlib import Path

import numpy as np

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.config import Source
from chestseg.nifti import write_nifti

SHAPE = (6, 20, 24)
SPACING = (5.0, 1.5, 1.5)
SPACINGS = ((5.0, 1.5, 1.5), (5.0, 3.0, 3.0))


def a_volume(seed: int, grid: Grid) -> Volume:
    return Volume(np.random.default_rng(seed).integers(-3000, 600, grid.shape).astype(np.int16), grid)


def a_mask(grid: Grid, positive: bool) -> Volume:
    mask = np.zeros(grid.shape, np.uint8)
    mask[1:4, 5:15, 2:10] = positive
    return Volume(mask, grid)


def write_volumes(folder: Path, count: int, grid: Grid | None = None) -> Source:
    """Noise of `SHAPE` voxels; every third mask has a block of 240, the others are empty."""
    grid = grid or Grid.upright(SHAPE, SPACING)
    for index in range(count):
        write_nifti(folder / "images" / f"case-{index:03d}.nii.gz", a_volume(index, grid))
        write_nifti(folder / "masks" / f"case-{index:03d}.nii.gz", a_mask(grid, index % 3 == 0))
    return Source(reader="nifti_folder", path=str(folder))
