"""Infiltrates of a CT phantom: ground glass, crazy paving and consolidation, mostly under the pleura, low, at the back, on both sides."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from chestseg.phantoms.ct.chest import WALL, Chest, rib_cage
from chestseg.phantoms.ct.organs import Organs
from chestseg.phantoms.ct.section import Section, lung_at
from chestseg.phantoms.ct.shapes import Clouds, Field, angle_from_back, step

Kind = Literal["ground glass", "crazy paving", "consolidation"]
KINDS: tuple[Kind, ...] = ("ground glass", "crazy paving", "consolidation")
MOST = 12
LEAST_ML, FIRST_ML, LARGEST_ML = 1.5, 6.0, 130.0
"""Sizes before borders become ragged and lungs end; the first infiltrate of a phantom is not tiny."""
EDGE = 3.0
"""Millimetres over which ground glass fades into healthy lung."""


@dataclass(frozen=True)
class Infiltrate:
    """One infiltrate: an oval that follows the chest wall, or a round one, with a ragged border."""

    kind: Kind
    side: int
    centre: tuple[float, float, float]
    angle: float
    """Of the centre about the chest's axis, from the back."""
    radii: tuple[float, float, float]
    """Along the wall, inwards and upwards."""
    follows_wall: bool
    ragged: float
    """How far clouds move the border, as a share of the radius."""
    hollow: float
    """0, or how much clearer the middle is than the rim."""
    hu: float
    """Of its densest part."""
    shift: float
    """Height by which clouds are moved, so that no two infiltrates are alike."""


def draw_infiltrates(rng: np.random.Generator, chest: Chest, organs: Organs) -> tuple[Infiltrate, ...]:
    """Draw between one and a dozen infiltrates; with two and more, both lungs have one in nine of ten phantoms."""
    count = 1 + int(rng.beta(1.1, 1.5) * MOST)
    first = int(rng.choice((-1, 1)))
    both = rng.random() < 0.9
    extent = rng.uniform(0.6, 1.15)
    found: list[Infiltrate] = []
    while len(found) < count:
        side = first if len(found) == 0 or not both else -first if len(found) == 1 else int(rng.choice((-1, 1)))
        drawn = _infiltrate(rng, chest, side, extent, LEAST_ML if found else FIRST_ML)
        if lung_at(chest, organs, np.array([drawn.centre], np.float32))[0] < -3:
            found.append(drawn)
    return tuple(found)


def _infiltrate(rng: np.random.Generator, chest: Chest, side: int, extent: float, least: float) -> Infiltrate:
    kind = KINDS[rng.choice(3, p=(0.68, 0.18, 0.14))]
    angle = float(rng.choice([rng.uniform(0.2, 1.0), rng.uniform(0.9, 2.0), rng.uniform(2.0, 2.7)], p=(0.6, 0.3, 0.1)))
    z = chest.length * (0.06 + 0.80 * rng.beta(1.3, 2.2))
    millilitres = extent * least * (LARGEST_ML / least) ** rng.beta(1.2, 1.3) * (0.5 if kind == "consolidation" else 1)
    round_one = rng.random() < 0.35
    size = (1000 * millilitres * 3 / (4 * np.pi)) ** (1 / 3)
    stretch = (1.0, 1.0, 1.0) if round_one else (rng.uniform(1.2, 1.8), rng.uniform(0.55, 0.9), rng.uniform(0.8, 1.4))
    radii = (size * stretch[0], size * stretch[1], size * stretch[2])
    central = rng.random() < 0.12
    inset = rng.uniform(25, 45) if central else rng.uniform(0.1, 0.75) * radii[1]
    return Infiltrate(
        kind=kind,
        side=side,
        centre=_on_wall(chest, side, angle, z, WALL + inset),
        angle=angle,
        radii=radii,
        follows_wall=not round_one and not central,
        ragged=rng.uniform(0.12, 0.4),
        hollow=rng.uniform(0.4, 0.8) if round_one and kind == "ground glass" and rng.random() < 0.25 else 0.0,
        hu=rng.uniform(-90, 45) if kind == "consolidation" else rng.uniform(-690, -420),
        shift=rng.uniform(0, 1000),
    )


def _on_wall(chest: Chest, side: int, angle: float, z: float, inset: float) -> tuple[float, float, float]:
    along = np.linspace(0, 1.3 * chest.half_width, 160, dtype=np.float32)
    x, y = side * along * np.sin(angle, dtype=np.float32), along * np.cos(angle, dtype=np.float32)
    inside = np.flatnonzero(rib_cage(chest, x, y, z) < -inset)
    last = int(inside[-1]) if len(inside) else 0
    return float(x[last]), float(y[last]), z


def reach_of(infiltrate: Infiltrate) -> float:
    """Half the height an infiltrate may take up, ragged border included."""
    return infiltrate.radii[2] * (1 + 1.6 * infiltrate.ragged) + EDGE


def presence(infiltrate: Infiltrate, section: Section, clouds: tuple[Clouds, ...]) -> Field:
    """How much of the infiltrate is in each voxel (H, W): 0 to 1, 0.5 at its border, whatever else is there."""
    plane = section.plane
    rx, ry, rz = infiltrate.radii
    cx, cy, cz = infiltrate.centre
    up = (plane.z - cz) / rz
    if infiltrate.follows_wall:
        turn = (angle_from_back(plane.x, plane.y) - infiltrate.angle) * np.hypot(cx, cy)
        norm = np.sqrt((turn / rx) ** 2 + (np.maximum(section.depth, 0) / (1.7 * ry)) ** 2 + up**2)
        norm = norm + (np.sign(plane.x) != infiltrate.side) * np.float32(9)
    else:
        norm = np.sqrt(((plane.x - cx) / rx) ** 2 + ((plane.y - cy) / ry) ** 2 + up**2)
    coarse, fine = (cloud.over(plane.raised(infiltrate.shift)) for cloud in clouds[:2])
    norm = norm + infiltrate.ragged * (0.55 * coarse + 0.35 * fine)
    edge = EDGE * (0.5 if infiltrate.kind == "consolidation" else 1.0)
    return step((1 - norm) * min(infiltrate.radii), -edge, 2 * edge)


def density(infiltrate: Infiltrate, section: Section, clouds: tuple[Clouds, ...]) -> Field:
    """HU (H, W) inside the infiltrate: uneven, denser along septa in crazy paving, clearer in a hollow middle."""
    coarse, fine = (cloud.over(section.plane.raised(infiltrate.shift)) for cloud in clouds[1:3])
    if infiltrate.kind == "consolidation":
        return np.asarray(infiltrate.hu + 18 * fine - 120 * np.maximum(coarse - 0.9, 0), np.float32)
    hu = infiltrate.hu + 45 * coarse + 35 * fine
    if infiltrate.kind == "crazy paving":
        hu = hu + 230 * np.exp(-((fine / 0.22) ** 2))
    if infiltrate.hollow:
        middle = np.asarray(section.plane.x - infiltrate.centre[0]) ** 2 + np.asarray(section.plane.y - infiltrate.centre[1]) ** 2
        ball = middle + (section.plane.z - infiltrate.centre[2]) ** 2
        hu = hu - 330 * infiltrate.hollow * np.exp(-ball / (0.5 * infiltrate.radii[0]) ** 2)
    return np.asarray(np.clip(hu, -760, 20), np.float32)
