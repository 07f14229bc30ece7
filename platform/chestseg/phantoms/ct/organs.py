"""What lies between the lungs of a CT phantom: heart, great vessels, gullet and airways in their fat, and the spine."""

from dataclasses import dataclass

import numpy as np

from chestseg.phantoms.ct.chest import Chest
from chestseg.phantoms.ct.shapes import Field, Tube, ellipsoid, step, superellipse, tube, union

FAT_SHEET = 5.0
"""Fat about the organs of the mediastinum."""


@dataclass(frozen=True)
class Organs:
    """What lies between the lungs."""

    vessels: tuple[Tube, ...]
    gullet: tuple[Tube, ...]
    airways: tuple[Tube, ...]
    heart: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...]
    """Centre, radii and turn of the ellipsoids it is made of."""


def lay_out_organs(rng: np.random.Generator, chest: Chest) -> Organs:
    """Place heart, great vessels, gullet and airways."""
    fork, top, shift = chest.carina, chest.length, rng.uniform(-4, 4)
    wide = rng.uniform(0.88, 1.15)
    back = chest.spine - 25

    def vessel(radius: float | list[float], *points: tuple[float, float, float]) -> Tube:
        moved = [(x + shift * (abs(x) < 30), y, fork + z) for x, y, z in points]
        return tube(moved, np.multiply(radius, wide))

    vessels = (
        vessel(
            [15, 15.5, 14.5, 13.5, 12.5, 12], (-8, -24, -50), (-14, -30, 2), (-9, -26, 24), (8, -4, 34), (20, 17, 28), (23, back - 1, 6)
        ),
        vessel([12, 12, 11.5], (23, back, 6), (19, back + 3, -75), (10, back + 3, -fork - 200)),
        vessel(5.5, (-9, -18, 36), (-20, -14, 62), (-28, -10, top - fork + 30)),
        vessel(4.2, (4, -8, 40), (14, -6, 64), (20, -8, top - fork + 60)),
        vessel(4.6, (14, 6, 40), (26, 4, 64), (60, 0, top - fork - 5)),
        vessel([10, 9, 8], (-27, -14, -48), (-25, -18, 15), (-24, -26, 42)),
        vessel([8, 6, 5], (-24, -26, 42), (-38, -16, top - fork - 8), (-45, -10, top - fork + 60)),
        vessel([6, 6, 5], (-24, -26, 42), (20, -32, 46), (44, -16, top - fork - 4)),
        vessel([15, 14], (14, -40, -52), (17, -24, -18)),
        vessel([11, 10, 9, 6.5], (15, -18, -18), (-16, -2, -18), (-40, 5, -22), (-50, 20, -52)),
        vessel([12, 11, 7], (17, -22, -14), (40, 12, -8), (50, 22, -40)),
        vessel(5.5, (-20, -2, -42), (-46, -6, -46), (-58, -10, -40)),
        vessel(5.5, (18, 0, -42), (46, -2, -44), (58, -8, -36)),
        vessel(6.0, (-16, 8, -58), (-44, 18, -72)),
        vessel(6.0, (18, 10, -58), (44, 20, -72)),
        vessel(11, (-20, 0, -80), (-22, 6, -fork - 200)),
        vessel(3.6, (-4, back + 4, 8), (-5, back + 6, -fork - 100)),
    )
    gullet = (vessel([6, 6.5, 7], (7, 14, top - fork + 60), (4, back - 6, 0), (8, back - 10, -110)),)
    airways = (
        vessel([9, 9.5, 9], (0, -8, top - fork + 80), (-1, 4, 50), (0, 12, 0)),
        vessel([7.5, 7, 5.5, 4.2], (0, 12, 0), (-34, 16, -20), (-44, 20, -34), (-49, 28, -52)),
        vessel([7, 6, 5, 4.2], (0, 12, 0), (30, 16, -20), (46, 22, -34), (50, 30, -52)),
        vessel([4.5, 3.4], (-34, 16, -18), (-56, 12, -4)),
        vessel([4.5, 3.4], (44, 20, -34), (60, 8, -22)),
    )
    middle = min(min(chest.domes) + 36, fork - 48)
    scale = chest.heart
    heart = (
        ((29.0, -20.0, middle), (47.0 * scale, 36.0 * scale, 46.0), -0.65),
        ((-8.0, -32.0, middle + 2), (41.0 * scale, 34.0 * scale, 46.0), -0.3),
        ((2.0, 4.0, middle + 14), (36.0 * scale, 20.0 * scale, 26.0), 0.0),
    )
    return Organs(vessels, gullet, airways, heart)


def heart_distance(organs: Organs, x: Field, y: Field, z: Field | float) -> Field:
    """Distance from the surface of the heart."""
    first, *others = (ellipsoid(x, y, z, *part) for part in organs.heart)
    for other in others:
        first = union(first, other, 10)
    return first


def mediastinum(chest: Chest, x: Field, y: Field, z: Field | float, tubes: Field, heart: Field) -> Field:
    """Distance from what parts the lungs: organs in their fat, and the spine with the tissue beside it."""
    level = np.asarray(z, np.float32) / chest.length
    organs = union(tubes, heart, 14) - FAT_SHEET * (1 - 0.85 * step(np.abs(x), 24, 22))
    column = superellipse(x, np.maximum(y - chest.spine, np.float32(-30.0)), (25, 20), 2)
    column = np.where(y > chest.spine, np.abs(x) - 25 - np.float32(0.12) * (y - chest.spine), column)
    front = np.abs(x - 4) - 4 - 8 * step(level, 0.72, 0.2) - np.float32(0.25) * np.maximum(-y - chest.half_depth * 0.6, 0)
    front = np.where(y < 0, front, np.sqrt(np.maximum(front, 0) ** 2 + y * y))
    inlet = superellipse(x, y - 8, (30, 46), 2) + 60 * (1 - step(level, 0.72, 0.2))
    core = union(union(column, front.astype(np.float32), 8), inlet, 10)
    return union(organs, core.astype(np.float32), 12)
