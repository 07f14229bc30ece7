"""What is dense in the lungs of a CT phantom and is no infiltrate: gravity, collapse, nodules, effusion, scars and motion."""

from dataclasses import dataclass

import numpy as np

from chestseg.phantoms.ct.chest import SIDES, Chest
from chestseg.phantoms.ct.organs import Organs
from chestseg.phantoms.ct.section import Section, lung_at
from chestseg.phantoms.ct.shapes import Field, cover, ellipsoid, step

SQUEEZED = 700.0
"""HU that lung beside an effusion gains, as its air is pressed out."""


@dataclass(frozen=True)
class Plate:
    """A band of collapsed lung: the plane of `normal` through `centre`, within `radius` of it, `thickness` thick."""

    centre: tuple[float, float, float]
    normal: tuple[float, float, float]
    radius: float
    thickness: float


@dataclass(frozen=True)
class Nodule:
    """A solid round nodule."""

    centre: tuple[float, float, float]
    radius: float
    hu: float


@dataclass(frozen=True)
class Decoys:
    """Look-alikes of one phantom; none of them is in the mask."""

    dependent: tuple[float, float]
    """HU added to the lung right at the back, and the depth in mm over which that fades."""
    plates: tuple[Plate, ...]
    nodules: tuple[Nodule, ...]
    effusions: tuple[tuple[int, float], ...]
    """Side, and depth in mm of the fluid at the back."""
    scar: float
    """HU added under the tips of the lungs."""
    bullae: float
    """Share of the upper lungs that emphysema has taken."""
    motion: float
    """Millimetres that heart and diaphragm move while their slices are taken."""
    mosaic: float
    """HU by which patches of lung are better ventilated than others."""


def draw_decoys(rng: np.random.Generator, chest: Chest, organs: Organs, positive: bool) -> Decoys:
    """Draw look-alikes; a phantom without infiltrate has slightly more of them."""
    often = 0.85 if positive else 1.0
    return Decoys(
        dependent=(rng.uniform(120, 420) * (rng.random() < 0.75 * often), rng.uniform(8, 24)),
        plates=tuple(_plate(rng, chest) for _ in range(int(rng.integers(0, 4) * (rng.random() < 0.6 * often)))),
        nodules=tuple(_nodule(rng, chest, organs) for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.5, 0.25, 0.15, 0.1])))),
        effusions=tuple((side, rng.uniform(5, 24)) for side in SIDES if rng.random() < 0.22),
        scar=rng.uniform(100, 450) * (rng.random() < 0.35),
        bullae=rng.uniform(0.1, 0.5) * (rng.random() < 0.25),
        motion=rng.uniform(1.5, 4.5) * (rng.random() < 0.6),
        mosaic=rng.uniform(10, 45),
    )


def _plate(rng: np.random.Generator, chest: Chest) -> Plate:
    side = int(rng.choice(SIDES))
    centre = (side * rng.uniform(45, 95), rng.uniform(-30, 55), rng.uniform(0.12, 0.4) * chest.length)
    tilt = rng.normal(0, 0.45, 2)
    normal = np.array([tilt[0], tilt[1], 1.0]) / np.hypot(1, np.linalg.norm(tilt))
    return Plate(centre, (float(normal[0]), float(normal[1]), float(normal[2])), rng.uniform(18, 45), rng.uniform(2.0, 5.0))


def _nodule(rng: np.random.Generator, chest: Chest, organs: Organs) -> Nodule:
    while True:
        x, y, z = rng.uniform((20, -70, 30), (115, 80, 0.9 * chest.length))
        centre = (float(x) * int(rng.choice(SIDES)), float(y), float(z))
        if lung_at(chest, organs, np.array([centre], np.float32))[0] < -4:
            return Nodule(centre, rng.uniform(2.0, 8.0), rng.uniform(10, 60) if rng.random() < 0.8 else rng.uniform(200, 500))


def healthy(decoys: Decoys, chest: Chest, section: Section) -> Field:
    """HU (H, W) of the lung between its vessels: denser towards the back, patchy, with what gravity, scars and emphysema do to it."""
    plane = section.plane
    level = plane.z / chest.length
    patchy, fine, grain = section.texture
    hu = chest.inflated + chest.gravity * (plane.y / chest.half_depth + 1) / 2 + decoys.mosaic * patchy + 12 * fine + 10 * grain
    strength, reach = decoys.dependent
    if strength:
        low = strength * (1.15 - 0.7 * level) * np.exp(-np.maximum(section.depth, 0) / (reach * np.clip(1 + 0.25 * patchy, 0.5, 1.6)))
        hu = hu + low * step(plane.y, 0.15 * chest.half_depth, 0.5 * chest.half_depth)
    for side, thick in decoys.effusions:
        squeezed = SQUEEZED * np.exp(-np.maximum(section.depth - _fluid_depth(thick, chest, section), 0) / (0.6 * thick))
        hu = hu + squeezed * (np.sign(plane.x) == side) * step(plane.y, 0.2 * chest.half_depth, 40) * step(-level, -0.5, 0.3)
    if decoys.scar and level > 0.78:
        hu = hu + decoys.scar * np.exp(-np.maximum(section.depth, 0) / 5) * max(0.0, (level - 0.78) / 0.2) * (1 + 0.4 * fine)
    if decoys.bullae:
        holes = cover(2.1 - 2.0 * decoys.bullae * level - fine - 0.7 * patchy, 0.3)
        hu = hu + holes * (-985 - hu)
    return np.asarray(hu, np.float32)


def shadows(decoys: Decoys, section: Section) -> list[tuple[Field, float]]:
    """Layers over the lung: share of each voxel (H, W) and HU of plates and nodules."""
    plane, layers = section.plane, []
    for plate in decoys.plates:
        dx, dy, dz = plane.x - plate.centre[0], plane.y - plate.centre[1], plane.z - plate.centre[2]
        across = np.abs(dx * plate.normal[0] + dy * plate.normal[1] + dz * plate.normal[2]) - plate.thickness / 2
        flat = max(0.1, 1 - plate.normal[2] ** 2) ** 0.5
        share = cover(across, max(plane.pixel * flat, plane.thickness * plate.normal[2]))
        share = share * step(-(dx * dx + dy * dy + dz * dz), -(plate.radius**2), 0.5 * plate.radius**2)
        layers.append((np.asarray(0.85 * share, np.float32), -40.0))
    for nodule in decoys.nodules:
        if abs(plane.z - nodule.centre[2]) < nodule.radius + plane.thickness:
            ball = ellipsoid(plane.x, plane.y, plane.z, nodule.centre, [nodule.radius] * 3)
            layers.append((cover(ball, max(plane.pixel, 0.6 * plane.thickness)), nodule.hu))
    return layers


def fluid(decoys: Decoys, chest: Chest, section: Section) -> Field:
    """Share of each voxel (H, W) of the chest's cavity that is an effusion: a crescent at the back that thins upwards."""
    plane = section.plane
    share = np.zeros(plane.shape, np.float32)
    for side, thick in decoys.effusions:
        depth = _fluid_depth(thick, chest, section)
        share += cover(section.depth - depth, plane.pixel) * (np.sign(plane.x) == side) * (depth > 0.5)
    return np.minimum(share, 1)


def _fluid_depth(thick: float, chest: Chest, section: Section) -> Field:
    plane = section.plane
    return thick * (1.25 - 2.0 * plane.z / chest.length) * np.clip(plane.y / chest.half_depth, 0, 1)
