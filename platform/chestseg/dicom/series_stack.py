"""Slices in order along their normal, and how they lie: distances, gaps, drift within the plane, the grid of the volume they make."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from chestseg.arrays.grid import Grid
from chestseg.dicom.series_report import Gap
from chestseg.dicom.series_slice import Geometry, Slice

SAME_PLACE_MM = 0.01
"""Slices closer than this along the normal are one place, imaged twice."""
ROUNDING_MM = 0.06
"""Positions are often written with one decimal."""
OFF_STEP = 0.05
"""How far a slice may lie from its place in the lattice, in steps."""
OFF_PIXEL = 0.25
"""How far a slice may lie from the others within the plane, in pixels."""


class Raster(NamedTuple):
    """Size of a slice."""

    rows: int
    columns: int
    spacing: tuple[float, ...]
    """Millimetres down a column and along a row."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one orientation, one at each place, ordered along the normal (the cross product of row and column directions)."""

    slices: tuple[Slice, ...]
    axes: np.ndarray
    """(3, 3): unit vectors along the normal, down a column and along a row, a row each."""
    duplicates: int
    """Slices let go because another lies in the same place."""

    @cached_property
    def places(self) -> np.ndarray:
        """(n, 3) mm: each slice's first pixel, as seen from the first slice's, along the axes."""
        positions = np.array([geometry_of(one).position for one in self.slices])
        return (positions - positions[0]) @ self.axes.T

    @cached_property
    def steps(self) -> np.ndarray:
        """(n - 1,) mm between neighbours along the normal, all positive."""
        return np.diff(self.places[:, 0])

    @cached_property
    def _lattice(self) -> np.ndarray:
        """(n,) places counted in median steps, rounded: 0, 1, 2 ... for an even series, with jumps where slices are missing."""
        return np.concatenate([[0], np.cumsum(np.rint(self.steps / np.median(self.steps)))])

    @cached_property
    def even(self) -> bool:
        """Whether all slices lie on one lattice, gaps or not."""
        lattice = self._lattice
        if np.diff(lattice).min() < 1:
            return False
        step = self.places[-1, 0] / lattice[-1]
        return bool(np.abs(self.places[:, 0] - lattice * step).max() <= max(OFF_STEP * step, ROUNDING_MM))

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where whole slices are missing."""
        jumps = np.diff(self._lattice)
        return tuple(Gap(int(i), round(float(self.steps[i]), 3), int(jumps[i]) - 1) for i in np.flatnonzero(jumps > 1))

    @cached_property
    def drift(self) -> tuple[np.ndarray, bool]:
        """(2,) mm within the plane, down and along, for each mm along the normal; and whether it explains where the slices lie."""
        along, within = self.places[:, 0], self.places[:, 1:]
        drift = along @ within / (along @ along)
        return drift, bool(np.abs(within - np.outer(along, drift)).max() <= self._off_pixel)

    @property
    def straight(self) -> bool:
        """Whether the first pixels lie on a line along the normal."""
        return bool(np.abs(self.places[:, 1:]).max() <= self._off_pixel)

    @property
    def tilt_degrees(self) -> float:
        """Angle between that line and the normal; 0 where there is no such line or no tilt."""
        drift, is_line = self.drift
        return float(np.degrees(np.arctan(np.linalg.norm(drift)))) if is_line and not self.straight else 0.0

    @cached_property
    def rasters(self) -> list[Raster]:
        """Size and pixel spacing of each slice."""
        return [Raster(one.rows, one.columns, geometry_of(one).spacing) for one in self.slices]

    @property
    def regular(self) -> bool:
        """Whether the slices are the volume as they stand, without resampling."""
        return self.even and not self.gaps and self.straight and len(set(self.rasters)) == 1

    @cached_property
    def grid(self) -> Grid:
        """The volume's: that of the slices where they are regular; else perpendicular, evenly spaced, large enough for every slice."""
        raster, start = self._raster()
        count = int(self._lattice[-1] if self.even else max(1, round(self.places[-1, 0] / np.median(self.steps)))) + 1
        affine = np.eye(4)
        affine[:3, :3] = self.axes.T * [self.places[-1, 0] / (count - 1), *raster.spacing]
        affine[:3, 3] = geometry_of(self.slices[0]).position + np.array([0, *start]) @ self.axes
        return Grid((count, raster.rows, raster.columns), affine)

    def _raster(self) -> tuple[Raster, np.ndarray]:
        """The grid's within the plane, and where its first pixel lies, (2,) mm down and along as seen from the first slice's."""
        raster = Counter(self.rasters).most_common(1)[0][0]
        if self.regular:
            return raster, np.zeros(2)
        spacing = np.array(raster.spacing)
        origin = self.places[self.rasters.index(raster), 1:]
        first = (self.places[:, 1:] - origin) / spacing
        sizes = np.array([np.array([other.rows - 1, other.columns - 1]) * other.spacing / spacing for other in self.rasters])
        start = np.floor(first.min(axis=0) + OFF_PIXEL)
        rows, columns = (np.ceil((first + sizes).max(axis=0) - OFF_PIXEL) - start + 1).astype(int).tolist()
        return Raster(rows, columns, raster.spacing), origin + start * spacing

    @cached_property
    def _off_pixel(self) -> float:
        """How far, in mm, a slice may lie from the others within the plane."""
        return max(OFF_PIXEL * min(min(raster.spacing) for raster in self.rasters), ROUNDING_MM)


def geometry_of(one: Slice) -> Geometry:
    """Where a slice lies; those without a place are never stacked."""
    assert one.geometry is not None, one.path
    return one.geometry


def stack(slices: Sequence[Slice]) -> Stack:
    """Order slices along their normal; of several in one place, the first by acquisition and instance number is kept."""
    row, column = np.reshape(geometry_of(slices[0]).orientation, (2, 3))
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    axes = np.stack([np.cross(row, column), column, row])
    heights = np.array([geometry_of(one).position for one in slices]) @ axes[0]
    order = np.argsort(heights, kind="stable")
    places = np.cumsum(np.diff(heights[order], prepend=heights[order[0]]) > SAME_PLACE_MM)
    kept: dict[int, Slice] = {}
    for place, index in zip(places.tolist(), order.tolist(), strict=True):
        one, other = slices[index], kept.get(place)
        if other is None or (one.acquisition, one.instance) < (other.acquisition, other.instance):
            kept[place] = one
    return Stack(tuple(kept.values()), axes, len(slices) - len(kept))
