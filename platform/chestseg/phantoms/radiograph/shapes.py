"""Curves, polygons and strokes in chest coordinates, and the canvas that draws them at any size.

Chest coordinates: x from -0.5 (the patient's right, the image's left) to 0.5, y from 0 (top edge) to 1 (bottom edge).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Curve = NDArray[np.float64]
"""Points (n, 2) as (x, y) in chest coordinates."""
Layer = NDArray[np.floating]
"""One value a pixel, (size, size); float32 throughout."""

FRACTION_BITS = 4
"""Coordinates go to OpenCV in sixteenths of a pixel."""


@dataclass(frozen=True)
class Stroke:
    """A line, or many, of one width; `weight` 0 to 1 is what it adds to its layer."""

    points: Curve
    """One line (n, 2), or lines of equal length (lines, n, 2)."""
    width: float
    weight: float = 1.0


@dataclass(frozen=True)
class Pose:
    """How the chest lies in the picture: rotation in degrees, scale, and shift as a share of the picture's edge."""

    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def matrix(self) -> NDArray[np.float64]:
        """Affine (2, 3) from chest coordinates to picture coordinates, both edges 0 to 1; the chest's centre is its fixed point."""
        turn = np.deg2rad(self.angle)
        linear = self.scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        offset = np.array([0.5, 0.5]) + self.shift - linear @ [0.0, 0.5]
        return np.column_stack([linear, offset])


class Canvas:
    """A square of `size` pixels; draws antialiased shapes given in chest coordinates under one pose."""

    def __init__(self, size: int, pose: Pose) -> None:
        self.size = size
        self._matrix = pose.matrix()

    def fill(self, polygons: Iterable[Curve], weights: Sequence[float] | None = None) -> Layer:
        """Filled polygons, 0 outside and their weight (default 1) inside; later ones lie over earlier ones."""
        layer = np.zeros((self.size, self.size), np.uint8)
        for index, polygon in enumerate(polygons):
            level = 255 if weights is None else round(255 * weights[index])
            cv2.fillPoly(layer, [self._pixels(polygon)], level, cv2.LINE_AA, FRACTION_BITS)
        return layer * np.float32(1 / 255)

    def inside(self, *polygons: Curve) -> NDArray[np.bool_]:
        """Pixels whose larger part lies in one of the polygons."""
        return self.fill(polygons) >= 0.5

    def draw(self, strokes: Iterable[Stroke]) -> Layer:
        """Strokes; one thinner than a pixel keeps a pixel's width and loses weight in proportion."""
        layer = np.zeros((self.size, self.size), np.uint8)
        for stroke in strokes:
            width = stroke.width * self.size
            level = round(255 * min(1.0, stroke.weight) * min(1.0, width))
            lines = self._pixels(stroke.points.reshape(-1, *stroke.points.shape[-2:]))
            cv2.polylines(layer, list(lines), False, level, max(1, round(width)), cv2.LINE_AA, FRACTION_BITS)
        return layer * np.float32(1 / 255)

    def grid(self) -> tuple[Layer, Layer]:
        """Chest coordinates x and y of the pixel centres."""
        edge = (np.arange(self.size) + 0.5) / self.size
        across, down = np.meshgrid(edge - self._matrix[0, 2], edge - self._matrix[1, 2])
        inverse = np.linalg.inv(self._matrix[:, :2])
        x, y = np.tensordot(inverse, np.stack([across, down]), 1).astype(np.float32)
        return x, y

    def _pixels(self, points: Curve) -> NDArray[np.int32]:
        picture = points @ self._matrix[:, :2].T + self._matrix[:, 2]
        return np.round((picture * self.size - 0.5) * (1 << FRACTION_BITS)).astype(np.int32)


def smooth(points: ArrayLike, count: int = 60) -> Curve:
    """A curve of `count` points through `points`: a cubic Hermite spline over their distances."""
    knots = np.asarray(points, float)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    slope = np.gradient(knots, along, axis=0)
    at = np.linspace(0, along[-1], count)
    piece = np.clip(np.searchsorted(along, at, "right") - 1, 0, len(knots) - 2)
    step = (along[piece + 1] - along[piece])[:, None]
    t = (at - along[piece])[:, None] / step
    near = (1 + 2 * t) * knots[piece] + t * step * slope[piece]
    far = (3 - 2 * t) * knots[piece + 1] - (1 - t) * step * slope[piece + 1]
    return (1 - t) ** 2 * near + t**2 * far


def mirrored(curve: Curve, side: float) -> Curve:
    """A shape laid out at positive x, put on the side with that sign."""
    return curve * np.array([side, 1.0])


def tangents(curve: Curve) -> Curve:
    """Unit tangents (n, 2) along a curve."""
    step = np.diff(curve, axis=0)
    across = np.concatenate([step[:1], step[1:] + step[:-1], step[-1:]])
    return across / (np.linalg.norm(across, axis=1, keepdims=True) + 1e-12)


def normals(curve: Curve) -> Curve:
    """Unit normals (n, 2) along a curve, to its right as it runs on the screen."""
    return tangents(curve)[:, ::-1] * [-1, 1]


def ribbon(curve: Curve, width: float | NDArray[np.float64]) -> Curve:
    """Closed polygon (2n, 2) of a band of `width` (one number, or one a point) centred on the curve."""
    half = normals(curve) * (np.broadcast_to(width, len(curve))[:, None] / 2)
    return np.vstack([curve + half, (curve - half)[::-1]])


def ellipse(centre: ArrayLike, radii: tuple[float, float], count: int = 30) -> Curve:
    """Closed polygon of an ellipse with upright axes."""
    angle = np.linspace(0, 2 * np.pi, count)
    return np.asarray(centre, float) + np.column_stack([radii[0] * np.cos(angle), radii[1] * np.sin(angle)])


def blur(layer: Layer, sigma: float) -> Layer:
    """Gaussian blur; `sigma` in pixels. Below a quarter of a pixel nothing would change."""
    return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma), layer.dtype) if sigma > 0.25 else layer


def enlarge(field: Layer, size: int) -> Layer:
    """A smooth field at another size."""
    interpolation = cv2.INTER_CUBIC if size > field.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(field, (size, size), interpolation=interpolation), field.dtype)
