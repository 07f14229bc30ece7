"""Where the body and the lungs are, by thresholds and outlines alone: enough to know where not to look.

Cells of `CELL` mm will do for that and take a fraction of a second. Nothing here decides what is an infiltrate.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from chestseg.arrays.window import GREYS
from chestseg.config import Spacing

CELL = 3.0
"""mm; finer voxels are averaged within slices and passed over between them."""
TISSUE = -400.0
"""HU between air with what little tissue holds it and everything denser, infiltrates included."""
PIECE = 0.1
"""Share of the largest piece below which tissue is table, clothes or noise, and air is bowel or stomach."""
LEAST_LUNG_ML = 50.0
"""Of a chest's largest air space; where there is less, no lung was found."""
REACH_MM = 15.0
"""How far an infiltrate may lie outside the outline around the air that is left of a lung."""
MM3_PER_ML = 1000


class Chest(NamedTuple):
    """What is where in a volume: bool arrays on the coarse grid, which `drawn` brings to the volume's own."""

    body: np.ndarray
    """The convex outline of the patient in each slice, and `REACH_MM` beyond: certain to hold the lungs, whole skin or not."""
    lungs: np.ndarray | None
    """The convex outline of each lung's air in each slice, and `REACH_MM` beyond within the body; None where no lungs were found.
    Consolidations lie inside, at the pleura too, and heart and diaphragm in part."""
    air: np.ndarray
    """The lungs as far as there is air in them."""
    shape: tuple[int, ...]
    """Of the volume."""
    stride: int
    """Slices of the volume to one of the coarse grid."""

    def drawn(self, mask: np.ndarray) -> np.ndarray:
        """One of the masks on the volume's grid, bool (D, H, W)."""
        drawn = np.empty(self.shape, bool)
        for first, plane in zip(range(0, self.shape[0], self.stride), mask, strict=True):
            large = cv2.resize(plane.view(np.uint8), self.shape[:0:-1], interpolation=cv2.INTER_NEAREST)
            drawn[first : first + self.stride] = large > 0
        return drawn


def find_chest(image: np.ndarray, spacing: Spacing, window: tuple[float, float]) -> Chest:
    """Find body and lungs.

    Args:
        image: uint8 (D, H, W), canonical: rows run to the back, columns to the left.
        spacing: mm between slices, rows and columns.
        window: HU of grey 0 and of grey 255. Where grey levels stand for no HU the body is still found, the lungs may not be.
    """
    stride = max(1, int(CELL / spacing[0]))
    coarse, cell = _shrink(image, spacing, stride)
    low, high = window
    tissue = coarse >= (TISSUE - low) / (high - low) * GREYS
    patient = _pieces(tissue, PIECE)
    inside = np.stack([~_outside(plane) for plane in patient])
    air = _pieces(inside & ~tissue, PIECE)
    body = _widened(_hulls(patient, (slice(None),)), cell)
    lungs = None
    if np.count_nonzero(air) * math.prod(cell) >= LEAST_LUNG_ML * MM3_PER_ML:
        middle = round(float(np.flatnonzero(inside.any((0, 1))).mean()))
        lungs = _widened(_hulls(air, (slice(None, middle), slice(middle, None))), cell) & inside
    return Chest(body, lungs, air, image.shape, stride)


def _shrink(image: np.ndarray, spacing: Spacing, stride: int) -> tuple[np.ndarray, Spacing]:
    """Every `stride`-th slice averaged to cells, and the size of a cell in mm."""
    shape = [max(1, round(n * s / max(s, CELL))) for n, s in zip(image.shape[1:], spacing[1:], strict=True)]
    coarse = np.stack([cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_AREA) for plane in image[::stride]])
    rows, columns = (s * n / m for s, n, m in zip(spacing[1:], image.shape[1:], shape, strict=True))
    return coarse, (spacing[0] * stride, rows, columns)


def _outside(plane: np.ndarray) -> np.ndarray:
    """What is joined with a corner of the slice by air: not its whole edge, where a tight field of view may cut the lungs."""
    _, pieces = cv2.connectedComponents((~plane).view(np.uint8), connectivity=4)
    corners = pieces[[0, 0, -1, -1], [0, -1, 0, -1]]
    return np.isin(pieces, corners[corners > 0])


def _pieces(mask: np.ndarray, share: float) -> np.ndarray:
    """The connected pieces with at least `share` of the voxels of the largest."""
    pieces = np.empty(mask.shape, np.int32)
    if not ndimage.label(mask, output=pieces):
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return (sizes >= max(1, share * sizes.max()))[pieces]


def _hulls(mask: np.ndarray, sides: tuple[slice, ...]) -> np.ndarray:
    """In each slice, the convex outline of what lies in each range of columns."""
    hulls = np.zeros(mask.shape, np.uint8)
    for plane, target in zip(mask, hulls, strict=True):
        for side in sides:
            points = cv2.findNonZero(plane[:, side].astype(np.uint8))
            if points is not None:
                points[..., 0] += side.start or 0
                cv2.fillConvexPoly(target, cv2.convexHull(points), 1)
    return hulls


def _widened(mask: np.ndarray, cell: Spacing) -> np.ndarray:
    """`mask` and what is within `REACH_MM` of it, in slices and across them."""
    slices, rows, columns = (round(REACH_MM / mm) for mm in cell)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * columns + 1, 2 * rows + 1))
    wide = np.stack([cv2.dilate(plane, disc) for plane in mask])
    return ndimage.maximum_filter1d(wide, 2 * slices + 1, axis=0) > 0
