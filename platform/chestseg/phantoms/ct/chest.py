"""The build of one CT phantom: rib cage, diaphragm and skin.

Millimetres in the chest's coordinates (see `phantom_ct_shapes`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from chestseg.phantoms.ct.shapes import Field, ellipsoid, step, superellipse, union

SIDES = (-1, 1)
"""Signs of x: right and left."""
APEX = 46.0
"""Distance of the lungs' tips from the midline."""
WALL = 4.0
"""From the lungs to the inner side of the ribs."""


@dataclass(frozen=True)
class Chest:
    """Sizes of one phantom."""

    sex: Literal["F", "M"]
    age: int
    half_width: float
    """Of the rib cage at its widest, inside."""
    half_depth: float
    length: float
    """From the deepest point of the lungs to their tips."""
    power: float
    """How square the rib cage is: 2 is an ellipse."""
    fat: float
    """Under the skin of the side."""
    breast: float
    """0 to 1."""
    domes: tuple[float, float]
    """Height of the right and the left dome of the diaphragm."""
    heart: float
    """Size of the heart, about 1."""
    blood: float
    """HU of blood: about 40, more after contrast medium."""
    inflated: float
    """HU of healthy lung in front; breathing in makes it lower."""
    gravity: float
    """HU by which lung at the back is denser."""
    gas: float
    """Level (y) of the fluid in the stomach; gas is above it."""

    @property
    def carina(self) -> float:
        """Height of the fork of the windpipe."""
        return 0.63 * self.length

    @property
    def spine(self) -> float:
        """How far behind the axis (y) the middle of the vertebral bodies lies."""
        return self.half_depth - 30


def draw_chest(rng: np.random.Generator) -> Chest:
    """Draw an adult's chest, scanned lying on the back, breathed in well or less well."""
    female = rng.random() < 0.45
    size = rng.uniform(0.94, 1.06) - 0.05 * female
    shallow = rng.random() < 0.3
    dome = rng.uniform(62, 78) + 12 * shallow
    return Chest(
        sex="F" if female else "M",
        age=int(rng.integers(20, 90)),
        half_width=121 * size * rng.uniform(0.95, 1.05),
        half_depth=94 * size * rng.uniform(0.94, 1.06),
        length=rng.uniform(228, 268) * size - 18 * shallow,
        power=rng.uniform(2.15, 2.6),
        fat=rng.uniform(8, 30),
        breast=female * rng.uniform(0.3, 1.0),
        domes=(dome + rng.uniform(4, 14), dome),
        heart=rng.uniform(0.9, 1.12),
        blood=rng.uniform(140, 260) if rng.random() < 0.25 else rng.uniform(34, 48),
        inflated=rng.uniform(-885, -835) + rng.uniform(25, 60) * shallow,
        gravity=rng.uniform(25, 70) + 40 * shallow,
        gas=rng.uniform(-60, -15),
    )


def rib_cage(chest: Chest, x: Field, y: Field, z: Field | float) -> Field:
    """Distance from the inner side of the ribs, which stand in a ring; the lungs' tips are two rings. Below the lungs it goes on."""
    high = np.clip((np.asarray(z, np.float32) / chest.length - 0.28) / 0.72, 0, 0.999)
    wide = np.asarray(1 - high**3, np.float32) ** np.float32(0.4)
    low = 1 + np.float32(0.03) * step(-np.asarray(z), -0.3 * chest.length, 0.3 * chest.length)
    aside = np.abs(np.abs(x) - APEX * (1 - wide))
    behind = y - 22 * (1 - wide * wide) - 11 * np.exp(-(((np.abs(x) - 55) / 35) ** 2)) * (y > 0)
    radii = chest.half_width * wide * low, chest.half_depth * wide ** np.float32(1.6) * low
    norm = ((aside / radii[0]) ** chest.power + np.abs(behind / radii[1]) ** chest.power) ** np.float32(1 / chest.power)
    radius = np.sqrt(aside**2 + behind**2)
    return np.asarray(np.where(norm > 0.02, radius - radius / np.maximum(norm, 0.02), -np.minimum(radii[0], radii[1])), np.float32)


def diaphragm(chest: Chest, x: Field, y: Field) -> Field:
    """Height of the diaphragm: a dome on each side that falls to a deep gutter at the ribs, deepest at the back."""
    right, left = chest.domes
    dome = right + (left - right) * step(x, -30, 60)
    aside = np.abs(x) - 42
    reach = np.where(aside > 0, chest.half_width - 42, 110).astype(np.float32)
    distance = (aside / reach) ** 2 + ((y + 4) / chest.half_depth) ** 2
    rim = 0.42 * dome * step(-y, -0.2 * chest.half_depth, 1.2 * chest.half_depth)
    return np.asarray(rim + (dome - rim) * np.maximum(1 - distance, 0) ** np.float32(0.55), np.float32)


def skin(chest: Chest, x: Field, y: Field, z: float) -> Field:
    """Distance from the skin, over the shoulders with the arms raised."""
    high = float(step(z, 0.72 * chest.length, 0.4 * chest.length))
    fat = chest.fat
    radii = (chest.half_width + 30 + fat + 34 * high, chest.half_depth + 26 + 0.75 * fat - 12 * high)
    outline = superellipse(x, y - 4 - 8 * high, radii, 2.5)
    if chest.breast:
        for side in SIDES:
            centre = (side * 72.0, -radii[1] + 16, 0.40 * chest.length)
            bulge = 36 + 30 * chest.breast
            outline = union(outline, ellipsoid(x, y, z, centre, (bulge + 22, bulge, bulge + 26)), 24)
    return outline
