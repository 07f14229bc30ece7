"""A volume: values and the grid they lie on."""

from dataclasses import dataclass

import numpy as np

from chestseg.arrays.grid import Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """Values of (slices, rows, columns), in HU where they come from CT, on their grid."""

    values: np.ndarray
    grid: Grid

    def __post_init__(self) -> None:
        assert self.values.shape == self.grid.shape, (self.values.shape, self.grid.shape)

    def canonical(self) -> "Volume":
        """This volume with slices towards the head, rows towards the back and columns towards the left; C-contiguous.

        Axes are swapped and turned, never interpolated: an oblique volume keeps its own axes, in the order and sense closest to those.
        The values are shared where the volume is canonical already.
        """
        return Volume(np.ascontiguousarray(self.grid.reorientation().apply(self.values)), self.grid.canonical())


def restore(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Bring an array from canonical order back to `grid`'s own: the exact inverse of `Volume.canonical`.

    Args:
        values: (slices, rows, columns) of `grid.canonical()`, of any type.
        grid: the source's.

    Returns:
        C-contiguous array of `grid.shape`.
    """
    restored = np.ascontiguousarray(grid.reorientation().undo(values))
    assert restored.shape == grid.shape, (restored.shape, grid.shape)
    return restored
