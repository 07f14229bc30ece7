"""What imitates a pneumothorax and is none: skin folds, lines with markings beyond them, fading markings, tubes and leads."""

from dataclasses import dataclass

import numpy as np

from chestseg.phantoms.radiograph.anatomy import Lung, Thorax
from chestseg.phantoms.radiograph.pleura import PLEURA
from chestseg.phantoms.radiograph.shapes import Curve, Stroke, ellipse, normals, smooth

IMITATED = {True: 0.4, False: 0.75}
"""Share of positive and of negative phantoms with a look-alike: enough of both that its presence tells nothing."""


@dataclass(frozen=True)
class Fold:
    """A skin fold: density that ends abruptly at `edge` and fades over `width` on its other side, where the normals `away` point."""

    edge: Curve
    away: Curve
    width: float
    strength: float


@dataclass(frozen=True)
class Fading:
    """A round area where lung markings thin out without a line."""

    centre: Curve
    radius: float


@dataclass(frozen=True)
class Decoys:
    """Look-alikes and hardware over a chest; none of them changes the mask."""

    strokes: tuple[Stroke, ...] = ()
    folds: tuple[Fold, ...] = ()
    fadings: tuple[Fading, ...] = ()


def draw_decoys(rng: np.random.Generator, thorax: Thorax, positive: bool) -> Decoys:
    """At most one look-alike, and hardware, more often on a portable picture."""
    hardware = _hardware(rng, thorax) if rng.random() < (0.5 if thorax.view == "AP" else 0.2) else ()
    if rng.random() >= IMITATED[positive]:
        return Decoys(hardware)
    lung = thorax.lungs[int(rng.random() < 0.5)]
    kind = rng.choice(["line", "fold", "fading"], p=[0.45, 0.35, 0.2])
    if kind == "line":
        return Decoys((*hardware, _line(rng, lung)))
    if kind == "fold":
        return Decoys(hardware, folds=(_fold(rng, lung),))
    centre = lung.wall[int(rng.integers(12, 30))] * [0.9, 1.0] + [0.0, 0.05]
    return Decoys(hardware, fadings=(Fading(centre, rng.uniform(0.06, 0.12)),))


def _line(rng: np.random.Generator, lung: Lung) -> Stroke:
    """A crease or tube that runs along the chest wall as a pleural line would, with markings on both sides."""
    first = int(rng.integers(8, 24))
    last = int(rng.integers(first + 18, 58))
    wave = 1 + 0.2 * np.sin(np.linspace(0, rng.uniform(2, 6), len(lung.wall)))
    path = lung.wall + (lung.hilum - lung.wall) * (rng.uniform(0.12, 0.4) * wave)[:, None]
    return Stroke(path[first:last], PLEURA * rng.uniform(0.8, 1.2), rng.uniform(0.55, 1.0))


def _fold(rng: np.random.Generator, lung: Lung) -> Fold:
    top = np.array([lung.side * rng.uniform(0.16, 0.3), rng.uniform(0.0, 0.2)])
    bottom = np.array([lung.side * rng.uniform(0.2, 0.38), rng.uniform(0.6, 0.95)])
    middle = (top + bottom) / 2 + [lung.side * rng.uniform(-0.03, 0.05), 0]
    edge = smooth([top, middle, bottom], 30)
    return Fold(edge, normals(edge) * rng.choice([-1.0, 1.0]), rng.uniform(0.02, 0.05), rng.uniform(0.06, 0.14))


def _hardware(rng: np.random.Generator, thorax: Thorax) -> tuple[Stroke, ...]:
    """A central line through the neck, and electrodes with their leads."""
    strokes = []
    if rng.random() < 0.5:
        side = rng.choice([-1.0, 1.0])
        tip = (rng.uniform(-0.02, 0.03), thorax.patient.apex + rng.uniform(0.25, 0.4))
        strokes.append(Stroke(smooth([(side * 0.2, -0.02), (side * 0.14, 0.1), (side * 0.05, 0.18), tip], 40), 0.004, 0.8))
    for _ in range(int(rng.integers(0, 4))):
        start = np.array([rng.uniform(-0.4, 0.4), rng.uniform(0.15, 0.7)])
        end = np.array([rng.choice([-0.55, 0.55]), rng.uniform(0.3, 1.0)])
        bow = (start + end) / 2 + rng.uniform(-0.12, 0.12, 2)
        strokes += [Stroke(smooth([start, bow, end], 40), 0.0025, 0.8), Stroke(ellipse(start, (0.011, 0.011)), 0.005)]
    return tuple(strokes)
