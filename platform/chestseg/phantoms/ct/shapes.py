"""Shapes of a CT phantom: signed distances in millimetres, negative inside, on an axial plane or at single points.

Coordinates are the chest's own: x to the left, y to the back, z upwards from the lowest point of the lungs, the midline at x = 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.floating]
"""Values over a plane (H, W), or over points (n,)."""
FAR = np.float32(1000.0)
LATTICE = 48
"""Edge of the lattice that clouds are interpolated from."""


@dataclass(frozen=True)
class Plane:
    """Voxel centres of one axial section: `x` (1, W), `y` (H, 1), one `z`; `pixel` and `thickness` in the chest's millimetres."""

    x: Field
    y: Field
    z: float
    pixel: float
    thickness: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y.shape[0], self.x.shape[1]

    @property
    def steps(self) -> tuple[float, float]:
        """Distance between rows and between columns."""
        return float(self.y[1, 0] - self.y[0, 0]), float(self.x[0, 1] - self.x[0, 0])

    def raised(self, height: float) -> "Plane":
        """The same plane, so much higher."""
        return Plane(self.x, self.y, self.z + height, self.pixel, self.thickness)

    def window(self, low: ArrayLike, high: ArrayLike) -> tuple[slice, slice]:
        """Rows and columns between two corners (x, y)."""
        (left, top), (right, bottom) = np.asarray(low).tolist(), np.asarray(high).tolist()
        rows = np.searchsorted(self.y[:, 0], (top, bottom))
        columns = np.searchsorted(self.x[0], (left, right))
        return slice(*rows.tolist()), slice(*columns.tolist())


@dataclass(frozen=True)
class Tube:
    """A chain of capsules: points (n, 3) and the radius at each of them."""

    points: NDArray[np.float32]
    radii: NDArray[np.float32]


@dataclass(frozen=True)
class Clouds:
    """Band-limited random values of mean 0 and deviation about 1, with structure of about `pitch` millimetres, everywhere in space."""

    lattice: NDArray[np.float32]
    pitch: float

    def over(self, plane: Plane) -> Field:
        """Values (H, W) on a plane."""
        at = plane.z / self.pitch
        low = int(np.floor(at))
        part = np.float32(at - low)
        part = part * part * (3 - 2 * part)
        layer = (1 - part) * self.lattice[low % LATTICE] + part * self.lattice[(low + 1) % LATTICE]
        row, column = plane.steps
        matrix = np.array(
            [
                [column / self.pitch, 0, float(plane.x[0, 0]) / self.pitch + LATTICE / 2],
                [0, row / self.pitch, float(plane.y[0, 0]) / self.pitch + LATTICE / 2],
            ]
        )
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        values = cv2.warpAffine(layer, matrix, plane.shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        # Interpolation averages neighbours: restore the deviation.
        return np.asarray(1.5 * values, np.float32)


def draw_clouds(rng: np.random.Generator, pitch: float) -> Clouds:
    """Draw random values at the corners of a lattice."""
    return Clouds(rng.standard_normal((LATTICE, LATTICE, LATTICE), np.float32), pitch)


def tube(points: ArrayLike, radii: ArrayLike) -> Tube:
    """A tube through `points` (n, 3); `radii` is one number or one for each point."""
    chain = np.asarray(points, np.float32)
    return Tube(chain, np.broadcast_to(np.asarray(radii, np.float32), len(chain)))


def cover(distance: Field, pixel: float) -> Field:
    """Share of each voxel inside a shape, 0 to 1: the edge is as wide as a voxel."""
    return np.clip(np.float32(0.5) - distance / np.float32(pixel), 0, 1)


def superellipse(x: Field, y: Field, radii: tuple[float, float], power: float = 2.0) -> Field:
    """Distance from a superellipse about the origin, along the ray from its centre."""
    across, down = x / np.float32(radii[0]), y / np.float32(radii[1])
    # Square roots are many times as fast as powers.
    norm = np.sqrt(across**2 + down**2) if power == 2 else (np.abs(across) ** power + np.abs(down) ** power) ** np.float32(1 / power)
    radius = np.sqrt(x * x + y * y)
    return np.where(norm > 1e-3, radius - radius / np.maximum(norm, 1e-3), -min(radii)).astype(np.float32)


def ellipsoid(x: Field, y: Field, z: Field | float, centre: ArrayLike, radii: ArrayLike, turn: float = 0.0) -> Field:
    """Distance from an ellipsoid, turned by `turn` radians about the z axis; exact at its surface."""
    cx, cy, cz = np.asarray(centre, np.float32)
    rx, ry, rz = np.asarray(radii, np.float32)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along, across, up = (cos * (x - cx) + sin * (y - cy)) / rx, (cos * (y - cy) - sin * (x - cx)) / ry, (z - cz) / rz
    norm = np.sqrt(along * along + across * across + up * up)
    steepness = np.sqrt((along / rx) ** 2 + (across / ry) ** 2 + (up / rz) ** 2) + np.float32(1e-6)
    return np.asarray(norm * (norm - 1) / steepness, np.float32)


def tubes_on(plane: Plane, tubes: Iterable[Tube], reach: float = 12.0) -> Field:
    """Distance from the nearest of `tubes`, right within `reach` of them and FAR elsewhere."""
    nearest = np.full(plane.shape, FAR, np.float32)
    for chain in tubes:
        for start, end, r0, r1 in zip(chain.points[:-1], chain.points[1:], chain.radii[:-1], chain.radii[1:], strict=True):
            margin = max(r0, r1) + reach
            low, high = np.minimum(start, end) - margin, np.maximum(start, end) + margin
            if not low[2] < plane.z < high[2]:
                continue
            rows, columns = plane.window(low[:2], high[:2])
            part = nearest[rows, columns]
            np.minimum(part, _capsule(plane.x[:, columns], plane.y[rows], np.float32(plane.z), start, end, r0, r1), out=part)
    return nearest


def tubes_at(x: Field, y: Field, z: Field, tubes: Iterable[Tube]) -> Field:
    """Distance of points (n,) from the nearest of `tubes`."""
    nearest = np.full(len(x), FAR, np.float32)
    for chain in tubes:
        for start, end, r0, r1 in zip(chain.points[:-1], chain.points[1:], chain.radii[:-1], chain.radii[1:], strict=True):
            np.minimum(nearest, _capsule(x, y, z, start, end, r0, r1), out=nearest)
    return nearest


def _capsule(x: Field, y: Field, z: Field | np.float32, start: Field, end: Field, r0: np.float32, r1: np.float32) -> Field:
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    axis = end - start
    along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / np.float32(axis @ axis + 1e-6), 0, 1)
    gap = np.sqrt((dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2)
    return gap - (r0 + along * (r1 - r0))


def union(first: Field, second: Field, blend: float) -> Field:
    """The smaller of two distances, with the notch between both shapes filled over `blend` millimetres."""
    near = np.maximum(np.float32(blend) - np.abs(first - second), 0)
    return np.minimum(first, second) - near * near * np.float32(0.25 / blend)


def step(value: Field | float, start: float, width: float) -> Field:
    """A smooth rise from 0 at `start` to 1 at `start + width`."""
    ramp = np.clip((np.asarray(value, np.float32) - np.float32(start)) / np.float32(width), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def angle_from_back(x: Field, y: Field) -> Field:
    """Angle about the chest's axis: 0 at the spine, pi at the breastbone, equal on both sides."""
    return np.arctan2(np.abs(x), y)
