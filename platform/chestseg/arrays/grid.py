"""Where voxels lie: the grid of a volume in the patient, and the way from its axes to those of axial images and back.

Positions are millimetres in DICOM's patient coordinates (PS3.3 C.7.6.2.1.1): x to the patient's left, y to the back, z to the head (LPS+).
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

CANONICAL = (2, 1, 0)
"""The coordinate along which slices, rows and columns of a canonical array run, each rising: to the head, the back, the left."""
MM3_PER_ML = 1000
TIE_DECIMALS = 9


class Reorientation(NamedTuple):
    """How an array becomes canonical: its axes in another order, some turned round. No voxel changes its value."""

    axes: tuple[int, int, int]
    """For each canonical axis, the source's axis it is."""
    flips: tuple[bool, bool, bool]
    """For each canonical axis, whether it runs against the source's."""

    def apply(self, values: np.ndarray) -> np.ndarray:
        """A source's array in canonical order: a view."""
        return np.transpose(values, self.axes)[self._steps]

    def undo(self, values: np.ndarray) -> np.ndarray:
        """A canonical array in the source's order: a view. The exact inverse of `apply`."""
        return np.transpose(values[self._steps], np.argsort(self.axes))

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flipped else 1) for flipped in self.flips)


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and place of a volume of (slices, rows, columns).

    The affine is copied and can't be written to. Its columns need not be perpendicular: a tilted gantry shears the grid.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    """(4, 4) float64, not singular: (slice, row, column, 1) of a voxel's centre to (x, y, z, 1) in mm, LPS+."""

    def __post_init__(self) -> None:
        affine = np.array(self.affine, np.float64)
        assert len(self.shape) == 3 and min(self.shape) > 0, self.shape
        assert affine.shape == (4, 4) and np.isfinite(affine).all() and affine[3].tolist() == [0, 0, 0, 1], affine
        assert np.linalg.det(affine) != 0, affine
        affine.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    @classmethod
    def upright(
        cls, shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: tuple[float, float, float] = (0, 0, 0)
    ) -> Self:
        """A canonical grid along the patient's axes; `origin` is (x, y, z) in mm of the first voxel's centre."""
        affine = np.eye(4)
        affine[:3, :3] = np.diag(spacing)[list(CANONICAL)]
        affine[:3, 3] = origin
        return cls(shape, affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between neighbouring voxels along slices, rows and columns."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return slices, rows, columns

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres; right for sheared grids too."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / MM3_PER_ML

    def matches(self, other: "Grid", tolerance_mm: float) -> bool:
        """Whether both have the same shape and each voxel lies within `tolerance_mm` of its namesake."""
        if self.shape != other.shape:
            return False
        # The distance between two affine maps of a box is greatest at one of its corners.
        corners = np.array([[*corner, 1] for corner in itertools.product(*((0, n - 1) for n in self.shape))])
        apart = np.linalg.norm(corners @ (self.affine - other.affine).T, axis=1)
        return bool(apart.max() <= tolerance_mm)

    def reorientation(self) -> Reorientation:
        """How an array on this grid becomes canonical: the order of axes closest to (head, back, left), none of them turned."""
        directions = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        closeness = np.abs(directions)[list(CANONICAL)]
        # By products, a matrix that is not singular never pairs an axis with a perpendicular one. Rounded: ties break alike everywhere.
        axes = max(itertools.permutations(range(3)), key=lambda order: round(float(closeness[range(3), order].prod()), TIE_DECIMALS))
        flips = tuple(bool(directions[CANONICAL[i], axes[i]] < 0) for i in range(3))
        return Reorientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    def canonical(self) -> "Grid":
        """This grid in canonical order: every voxel stays where it is in the patient."""
        axes, flips = self.reorientation()
        affine = self.affine[:, [*axes, 3]].copy()
        shape = (self.shape[axes[0]], self.shape[axes[1]], self.shape[axes[2]])
        for axis in np.flatnonzero(flips):
            affine[:, 3] += affine[:, axis] * (shape[axis] - 1)
            affine[:, axis] *= -1
        return Grid(shape, affine)
