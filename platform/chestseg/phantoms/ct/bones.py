"""Bones of a CT phantom: ribs, spine, breastbone, shoulder blades and collar bones, each with a bright cortex about its marrow."""

from dataclasses import dataclass

import numpy as np

from chestseg.phantoms.ct.chest import SIDES, Chest
from chestseg.phantoms.ct.section import Section
from chestseg.phantoms.ct.shapes import Field, Tube, angle_from_back, cover, superellipse, tube, tubes_on

RIBS, TRUE_RIBS = 12, 7
CARTILAGE = 0.70
"""Share of the way from spine to breastbone at which bone gives way to cartilage."""
DENSE, MARROW, DISC, GRISTLE = 780.0, 190.0, 85.0, 115.0
"""HU of cortex, marrow, discs and cartilage."""
CORTEX = 1.3
"""Thickness of the cortex."""


@dataclass(frozen=True)
class Skeleton:
    """Where the bones of one phantom lie, and how dense they are."""

    pitch: float
    """From rib to rib at the spine."""
    first: float
    """Height of the first rib's head."""
    fall: float
    """By which a rib's front end lies lower than its head."""
    vertebra: float
    """From vertebra to vertebra."""
    offset: float
    density: float
    """About 1; less in old age."""
    rods: tuple[Tube, ...]
    """Collar bones and upper arms."""


def draw_skeleton(rng: np.random.Generator, chest: Chest) -> Skeleton:
    """Draw the bones of a chest."""
    top = chest.length
    rods = []
    for side in SIDES:
        clavicle = [(side * 18, -46, top - 28), (side * 60, -48, top - 8), (side * 110, -20, top + 12), (side * 140, -5, top + 18)]
        arm = [(side * 165, 12, top - 5), (side * 178, 5, top + 20), (side * 190, -30, top + 140)]
        rods += [tube(clavicle, [9, 6, 6, 6]), tube(arm, [20, 22, 13])]
    return Skeleton(
        pitch=chest.length / rng.uniform(9.0, 9.8),
        first=top + rng.uniform(-8, 0),
        fall=rng.uniform(75, 105),
        vertebra=chest.length / rng.uniform(10.2, 11.2),
        offset=rng.uniform(0, 1),
        density=rng.uniform(0.85, 1.1) - 0.004 * max(0, chest.age - 50),
        rods=tuple(rods),
    )


def bones(skeleton: Skeleton, chest: Chest, section: Section) -> list[tuple[Field, Field | float]]:
    """Layers of bone over one plane: share of each voxel (H, W) and HU, in the order they are laid over each other."""
    plane, dense, marrow = section.plane, DENSE * skeleton.density, MARROW * skeleton.density
    layers: list[tuple[Field, Field | float]] = []

    def add(distance: Field, inner: float = marrow, cortex: float = CORTEX) -> None:
        layers.append((cover(distance, plane.pixel), dense))
        layers.append((cover(distance + np.float32(cortex), plane.pixel), inner))

    ribs, cartilage = _ribs(skeleton, chest, section)
    layers.append((cover(cartilage, plane.pixel), GRISTLE))
    add(ribs)
    add(_plates(chest, section), 230, 1.6)
    add(tubes_on(plane, skeleton.rods, 4), cortex=2.2)
    for distance, inner in _vertebra(skeleton, chest, section):
        add(distance, inner)
    return layers


def _ribs(skeleton: Skeleton, chest: Chest, section: Section) -> tuple[Field, Field]:
    """Distances from bone and from cartilage: tubes of oval section that run outside the rib cage, falling from back to front."""
    plane = section.plane
    angle = angle_from_back(plane.x, plane.y) / np.float32(np.pi)
    head = plane.z + skeleton.fall * (1 - np.cos(np.pi * angle)) / 2
    number = np.round((skeleton.first - head) / skeleton.pitch)
    offset = (skeleton.first - number * skeleton.pitch - head) / np.float32(7.0)
    outward = (section.cage - np.float32(5.5)) / np.float32(4.0)
    distance = ((np.sqrt(offset * offset + outward * outward) - 1) * 4).astype(np.float32)
    reach = np.where(number < TRUE_RIBS, 0.94, 0.94 - 0.11 * (number - TRUE_RIBS + 1))
    absent = (number < 0) | (number >= RIBS) | (angle > reach) | (section.skin > -4)
    gristle = (angle > CARTILAGE) | (angle > reach - 0.14)
    far = np.float32(50)
    return np.where(absent | gristle, far, distance), np.where(absent | ~gristle, far, distance)


def _plates(chest: Chest, section: Section) -> Field:
    """Breastbone and shoulder blades."""
    plane, level = section.plane, section.plane.z / chest.length
    distance = np.full(plane.shape, 50, np.float32)
    if 0.32 < level < 0.86:
        wide = 17 + 10 * max(0.0, (level - 0.72) / 0.14)
        y = -chest.half_depth * float(np.interp(level, [0.3, 0.6, 0.86], [1.04, 1.0, 0.62])) - 5
        distance = superellipse(plane.x, plane.y - y, (wide, 6), 3)
    if 0.45 < level < 1.02:
        angle = angle_from_back(plane.x, plane.y) / np.float32(np.pi)
        first, last = 0.17 + 0.10 * max(0.0, level - 0.8), 0.20 + 0.20 * min(1.0, (level - 0.42) / 0.3)
        along = np.maximum(first - angle, angle - last) * 260
        spread = 17 + 150 * np.maximum(angle - 0.24, 0) + 30 * max(0.0, level - 0.9)
        across = np.abs(section.cage - spread) - (2.2 + 4.0 * np.exp(-(((angle - last) / 0.04) ** 2)))
        inside = section.skin + 10
        distance = np.minimum(distance, np.maximum.reduce([along, across, inside]))
    return distance


def _vertebra(skeleton: Skeleton, chest: Chest, section: Section) -> list[tuple[Field, float]]:
    """Arch and processes, then the body or a disc, then the canal, as distances and the HU inside."""
    plane = section.plane
    x, y = plane.x, plane.y - np.float32(chest.spine)
    level = (plane.z / skeleton.vertebra + skeleton.offset) % 1
    parts: list[tuple[Field, float]] = []
    canal = superellipse(x, y - 23, (10.5, 8.5))
    if 0.15 < level < 0.75:
        ring = np.maximum(canal - 5, -canal)
        parts.append((ring, 350))
        parts.append((np.maximum(np.abs(x) - 3.4, np.abs(y - 45 - 10 * (0.6 - level)) - 16), 260))
    if 0.35 < level < 0.7:
        wings = tuple(tube([(s * 11, chest.spine + 18, plane.z), (s * 36, chest.spine + 30, plane.z)], [5, 4.5]) for s in SIDES)
        parts.append((tubes_on(plane, wings, 4), 260))
    body = superellipse(x, y + 2, (18.5, 15.0), 2.2)
    body = np.maximum(body, -(canal - 1)).astype(np.float32)
    parts.append((body, DISC if level > 0.86 else MARROW * skeleton.density))
    return parts
