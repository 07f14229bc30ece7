"""Slices that are no volume as they stand, resampled to one: shifted and scaled within their planes, interpolated between them."""

import cv2
import numpy as np

from chestseg.dicom.series_pixels import AIR, read_pixels, to_hu
from chestseg.dicom.series_slice import Slice
from chestseg.dicom.series_stack import OFF_PIXEL, OFF_STEP, Stack, geometry_of

LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def read_repaired(stacked: Stack, threads: int | None = None) -> np.ndarray:
    """The stack on its grid: (slices, rows, columns) int16 HU, linearly interpolated; air where no slice reaches.

    A tilted gantry needs no interpolation between slices: each is moved within its own plane.

    Raises:
        ValueError: one line that names the file: its pixels cannot be read.
    """
    _, rows, columns = stacked.grid.shape
    values = np.empty((len(stacked.slices), rows, columns), np.int16)
    moves = in_plane(stacked)

    def place(index: int, stored: np.ndarray) -> None:
        hu, move = to_hu(stored, stacked.slices[index]), moves[index]
        values[index] = hu if move is None else cv2.warpAffine(hu, move, (columns, rows), flags=LINEAR, borderValue=AIR)

    read_pixels(stacked.slices, place, threads)
    return values if len(values) == stacked.grid.shape[0] and stacked.even else _between(values, between(stacked))


def sources(stacked: Stack) -> list[int | None]:
    """For each slice of the grid, the slice of the stack whose pixels it has as they are; None where it was resampled."""
    whole = [move is None for move in in_plane(stacked)]
    return [int(where) if where == int(where) and whole[int(where)] else None for where in between(stacked).tolist()]


def in_plane(stacked: Stack) -> list[np.ndarray | None]:
    """For each slice the (2, 3) matrix from the grid's (column, row, 1) to its own (column, row); None where they are the same."""
    return [_move(one, place, stacked) for one, place in zip(stacked.slices, stacked.places, strict=True)]


def between(stacked: Stack) -> np.ndarray:
    """(grid slices,) float: the place of each slice of the grid in the stack: 3.0 is the stack's fourth, 3.5 half-way to its fifth."""
    heights = np.linspace(0, stacked.places[-1, 0], stacked.grid.shape[0])
    where = np.interp(heights, stacked.places[:, 0], np.arange(len(stacked.slices)))
    near = np.rint(where).astype(int)
    step = stacked.grid.spacing[0]
    return np.where(np.abs(stacked.places[near, 0] - heights) <= OFF_STEP * step, near, where)


def _move(one: Slice, place: np.ndarray, stacked: Stack) -> np.ndarray | None:
    grid, geometry = stacked.grid, geometry_of(one)
    origin = (grid.affine[:3, 3] - np.array(geometry_of(stacked.slices[0]).position)) @ stacked.axes.T
    scale = np.array(grid.spacing[1:]) / geometry.spacing
    start = (origin - place)[1:] / geometry.spacing
    same_size = (one.rows, one.columns) == grid.shape[1:] and np.allclose(scale, 1)
    if same_size and np.abs(start).max() <= OFF_PIXEL:
        return None
    return np.array([[scale[1], 0, start[1]], [0, scale[0], start[0]]])


def _between(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Linear interpolation along the slices."""
    out = np.empty((len(where), *values.shape[1:]), np.int16)
    for index, place in enumerate(where.tolist()):
        below = int(place)
        share = place - below
        out[index] = values[below] if not share else np.rint((1 - share) * values[below] + share * values[below + 1].astype(np.float64))
    return out
