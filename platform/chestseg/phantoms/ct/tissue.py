"""HU of everything in a CT phantom but lungs: skin, fat, muscle, bones, the organs between the lungs and below them, and the table."""

import numpy as np

from chestseg.phantoms.ct.bones import Skeleton, bones
from chestseg.phantoms.ct.chest import Chest
from chestseg.phantoms.ct.organs import Organs
from chestseg.phantoms.ct.section import Section
from chestseg.phantoms.ct.shapes import Field, cover, ellipsoid, step, superellipse, tubes_on

AIR, FAT, MUSCLE, SKIN, FLUID = -1000.0, -102.0, 54.0, 20.0, 8.0
LIVER, SPLEEN, GUT, GLAND = 57.0, 48.0, 28.0, 30.0
HEART_WALL, AIRWAY_WALL = 46.0, 10.0


def paint(hu: Field, share: Field, value: Field | float) -> None:
    """Lay a tissue over what is there, in place: each voxel takes its `share` (0 to 1) of it."""
    hu += share * (value - hu)


def tissue(chest: Chest, organs: Organs, skeleton: Skeleton, section: Section) -> Field:
    """HU (H, W) of one plane, with fat where lungs will be laid over it."""
    plane = section.plane
    hu = np.full(plane.shape, AIR, np.float32)
    coarse, fine, _ = section.texture
    _table(hu, chest, section)
    _wall(hu, chest, section, coarse, fine)
    paint(hu, cover(section.cage, plane.pixel), FAT + 6 * fine)
    for share, value in bones(skeleton, chest, section):
        paint(hu, share, value + (25 * fine if isinstance(value, float) and 150 < value < 300 else 0))
    _middle(hu, chest, organs, section)
    _abdomen(hu, chest, section, coarse, fine)
    return hu


def _table(hu: Field, chest: Chest, section: Section) -> None:
    plane = section.plane
    top = 4 + chest.half_depth + 27 + 0.75 * chest.fat
    below = plane.y - (top + 5 - plane.x**2 / 900)
    paint(hu, cover(np.abs(below - 14) - 12, plane.pixel), -965.0)
    for depth in (0.0, 28.0):
        paint(hu, cover(np.abs(below - depth) - 1.1, plane.pixel), -260.0)


def _wall(hu: Field, chest: Chest, section: Section, coarse: Field, fine: Field) -> None:
    """Skin, fat under it, and muscles about the ribs with fat between them."""
    plane, level = section.plane, section.plane.z / chest.length
    paint(hu, cover(section.skin, plane.pixel), SKIN)
    paint(hu, cover(section.skin + 1.8, plane.pixel), FAT + 7 * fine)
    if chest.breast:
        front = step(-plane.y, 0.95 * chest.half_depth, 20) * step(-abs(level - 0.4), -0.26, 0.1)
        strands = cover(0.75 - coarse - 0.8 * np.abs(fine), 0.5) * cover(section.skin + 11, 4)
        paint(hu, 0.8 * front * strands, GLAND)
    high = float(step(level, 0.55, 0.4))
    deep = section.skin + 3 + chest.fat * (0.62 + 0.38 * step(np.abs(plane.x), 0.4 * chest.half_width, 60)) + 1.5 * coarse
    beside_spine = 20 * np.exp(-(((np.abs(plane.x) - 32) / 26) ** 2)) * step(plane.y, 0.3 * chest.half_depth, 30)
    thick = section.cage - (13 + 5 * coarse + 60 * high + beside_spine)
    paint(hu, cover(np.maximum(deep, thick), plane.pixel), MUSCLE + 5 * fine)
    # Muscles lie in sheets about the ribs, and so does the fat between them.
    sheet = np.abs((section.cage + 7 * coarse) % 24 - 14) - (0.2 + 0.05 * chest.fat) * (1 + fine)
    paint(hu, 0.9 * cover(sheet, plane.pixel) * step(section.cage, 10, 3) * step(-section.cage, -60, 25) * cover(deep + 2, 3), FAT)


def _middle(hu: Field, chest: Chest, organs: Organs, section: Section) -> None:
    """Muscle beside the spine is below its bones; then heart, vessels, gullet and the walls of the airways."""
    plane = section.plane
    x, y = plane.x, plane.y - np.float32(chest.spine)
    beside = np.maximum(superellipse(x, y - 14, (30, 24)), -superellipse(x, y - 10, (20, 30)))
    paint(hu, cover(beside, plane.pixel) * cover(section.cage, plane.pixel), MUSCLE)
    above = cover(-section.above, max(plane.pixel, plane.thickness))
    for inset, value in ((1.0, 20.0), (2.0, FAT + 15), (5.0, HEART_WALL), (14.0, chest.blood)):
        paint(hu, cover(section.heart + inset, plane.pixel) * above, value)
    paint(hu, cover(tubes_on(plane, organs.vessels, 3), plane.pixel), chest.blood)
    paint(hu, cover(tubes_on(plane, organs.gullet, 3), plane.pixel), 36.0)
    paint(hu, cover(section.airways - 1.4, plane.pixel), AIRWAY_WALL)


def _abdomen(hu: Field, chest: Chest, section: Section, coarse: Field, fine: Field) -> None:
    """Liver, spleen and stomach under the diaphragm."""
    plane = section.plane
    below = cover(0.75 * section.above, max(plane.pixel, plane.thickness)) * cover(section.cage, plane.pixel)
    if not below.any():
        return
    centre = superellipse(plane.x, plane.y - chest.spine - 5, (32, 36))
    below = below * cover(-centre, plane.pixel)
    _, left = chest.domes
    edge = plane.x - 30 + 0.3 * (plane.y + 20) + 0.004 * (plane.y - 10) ** 2 - 0.25 * min(0.0, plane.z - left) + 4 * coarse
    paint(hu, below, MUSCLE)
    inner = below * cover(section.cage + 3, plane.pixel) * cover(0.75 * section.above + 3, plane.pixel)
    paint(hu, inner, FAT + 8 * fine)
    paint(hu, inner * cover(edge, plane.pixel), LIVER + 2 * fine)
    spleen = ellipsoid(plane.x, plane.y, plane.z, (84, 40, left - 52), (34, 42, 44), -0.5)
    paint(hu, inner * cover(spleen, plane.pixel), SPLEEN)
    stomach = ellipsoid(plane.x, plane.y, plane.z, (56, -20, left - 46), (44, 36, 42), 0.5) + 3 * coarse
    paint(hu, inner * cover(stomach, plane.pixel), MUSCLE - 10)
    content = cover(stomach + 4, plane.pixel) * inner
    paint(hu, content, np.where(plane.y < chest.gas, np.float32(-960), GUT + 25 * fine))
