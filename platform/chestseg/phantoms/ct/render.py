"""Turn a drawn CT phantom into HU, slice by slice: thick slices are averages of thin ones, so edges show their partial volumes."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from chestseg.phantoms.ct.decoys import fluid, healthy, shadows
from chestseg.phantoms.ct.infiltrates import density, presence, reach_of
from chestseg.phantoms.ct.noise import scan
from chestseg.phantoms.ct.scene import Scene
from chestseg.phantoms.ct.section import Section, cut
from chestseg.phantoms.ct.shapes import Field, Plane, cover
from chestseg.phantoms.ct.tissue import FLUID, paint, tissue
from chestseg.phantoms.ct.vessels import trace

THIN, MOST_PARTS = 3.0, 4
"""Slices thicker than this, in mm, are averages of so many thinner ones at most."""
FISSURE = 90.0
"""HU a fissure adds where it is seen on edge."""
LUMEN = -975.0
LOWEST, HIGHEST = -1024, 3071
"""HU a 12-bit scanner writes."""


@dataclass(frozen=True)
class Layout:
    """Where voxels lie in the chest's coordinates; a field of view smaller than the chest shrinks the chest."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    scale: tuple[float, float, float]
    """Chest millimetres to volume millimetres, along slices, rows and columns."""

    @classmethod
    def around(cls, scene: Scene, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> "Layout":
        """Fit a chest into a field of view."""
        chest = scene.chest
        across = 2 * (chest.half_width + 26 + 0.7 * chest.fat)
        needed = (chest.length + 30, 0.74 * across, across)
        fit = [min(1.0, n * s / need) for n, s, need in zip(shape, spacing, needed, strict=True)]
        plane = min(fit[1:])
        return cls(shape, spacing, (fit[0], plane, plane))

    def planes(self, scene: Scene, index: int) -> list[Plane]:
        """The thin planes that slice `index` is the average of."""
        (slices, rows, columns), (dz, dy, dx) = self.shape, (s / f for s, f in zip(self.spacing, self.scale, strict=True))
        x = ((np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * np.float32(dx))[None] + np.float32(scene.shift[1])
        y = ((np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * np.float32(dy))[:, None] + np.float32(8 + scene.shift[0])
        middle = (index - (slices - 1) / 2) * dz + scene.chest.length / 2
        parts = min(MOST_PARTS, int(np.ceil(dz / THIN)))
        heights = middle + ((np.arange(parts) + 0.5) / parts - 0.5) * dz
        return [Plane(x, y, float(z), float(dx + dy) / 2, dz / parts) for z in heights]


def render(
    scene: Scene, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
    """HU int16, mask of infiltrate and mask of lungs uint8 {0, 1}, each (slices, rows, columns) in canonical order."""
    layout = Layout.around(scene, shape, spacing)
    volume, mask, lungs = np.empty(shape, np.int16), np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    for index in range(shape[0]):
        drawn = [_draw(scene, plane) for plane in layout.planes(scene, index)]
        hu, sick, lung = (np.asarray(np.mean([part[i] for part in drawn], axis=0, dtype=np.float32)) for i in range(3))
        seen = np.round(scan(hu, scene.scanner, index, spacing))
        volume[index] = np.clip(seen, LOWEST, HIGHEST)
        lungs[index] = lung >= 0.5
        mask[index] = (sick >= 0.5) & (lung >= 0.5)
    return volume, mask, lungs


def _draw(scene: Scene, plane: Plane) -> tuple[Field, Field, Field]:
    """HU, infiltrate and lung, each (H, W), the latter 0 to 1."""
    section = cut(scene.chest, scene.organs, scene.clouds, plane)
    hu = tissue(scene.chest, scene.organs, scene.skeleton, section)
    sick, lungs = np.zeros(plane.shape, np.float32), section.lungs
    if lungs.any():
        if scene.decoys.effusions:
            wet = fluid(scene.decoys, scene.chest, section)
            paint(hu, lungs * wet, FLUID)
            lungs = lungs * (1 - wet)
        inside, sick = _lung(scene, section)
        paint(hu, lungs, inside)
    paint(hu, cover(section.airways, plane.pixel), LUMEN)
    return _move(hu, scene, section), sick, lungs


def _lung(scene: Scene, section: Section) -> tuple[Field, Field]:
    """HU of the lung, wherever it is, and the share of infiltrate."""
    plane, sick = section.plane, np.zeros(section.plane.shape, np.float32)
    hu = healthy(scene.decoys, scene.chest, section)
    hu += FISSURE * _fissures(scene, section)
    for infiltrate in scene.infiltrates:
        if abs(plane.z - infiltrate.centre[2]) < reach_of(infiltrate):
            share = presence(infiltrate, section, scene.clouds)
            if share.any():
                dense = np.maximum(density(infiltrate, section, scene.clouds), hu)
                paint(hu, share, dense)
                np.maximum(sick, share, out=sick)
    for share, value in shadows(scene.decoys, section):
        paint(hu, share, np.maximum(hu, value))
    paint(hu, trace(scene.vessels, plane), np.maximum(hu, 0.9 * scene.chest.blood))
    if len(scene.bronchi.radius):
        paint(hu, 0.9 * trace(scene.bronchi, plane, 0.8), np.maximum(hu, -60))
        paint(hu, trace(scene.bronchi, plane), LUMEN + 40)
    return hu, sick


def _fissures(scene: Scene, section: Section) -> Field:
    """The oblique fissures: from the back, high, to the front of the diaphragm."""
    chest, plane = scene.chest, section.plane
    lift = np.where(plane.x > 0, 0.44, 0.40).astype(np.float32) * chest.length
    height = lift + 0.95 * plane.y + 0.12 * np.abs(plane.x) + 5 * section.texture[0]
    return cover(0.7 * np.abs(plane.z - height) - 0.35 - 0.3 * plane.thickness, plane.pixel) * min(1.0, 1.0 / plane.pixel)


def _move(hu: Field, scene: Scene, section: Section) -> Field:
    """Show heart and diaphragm twice where they moved while the slice was taken."""
    plane, moved = section.plane, scene.decoys.motion / section.plane.pixel
    if not moved:
        return hu
    near = np.maximum(np.exp(-((section.above / 22) ** 2)), np.exp(-((np.maximum(section.heart, 0) / 9) ** 2))) * (section.cage < 0)
    if not near.any():
        return hu
    matrix = np.array([[1, 0, 0.6 * moved], [0, 1, -0.8 * moved]])
    again = cv2.warpAffine(hu, matrix, plane.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(hu + 0.5 * near * (again - hu), np.float32)
