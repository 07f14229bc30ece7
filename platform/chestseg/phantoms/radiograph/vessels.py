"""Vessel trees of the lungs: they leave the hilum in a fan, branch and taper on their way to the pleura."""

import numpy as np
from numpy.typing import NDArray

from chestseg.phantoms.radiograph.anatomy import Lung
from chestseg.phantoms.radiograph.shapes import Curve, Stroke

STEMS = 13
STEPS = 6
"""Straight pieces a branch is made of."""
CHILDREN = ((1, 2, 3, 4, 5, 6), (2, 3, 4, 5, 6), (2, 4, 6), (3, 6), ())
"""For each generation, the steps at which its branches give off the next one."""
FINE = 2
"""Generations whose taper is drawn at every step."""
NARROWEST, WIDEST = 0.0006, 0.0095
"""The thinnest vessel that is drawn and the widest lobar artery, as shares of the picture's edge."""
WIDTHS = np.geomspace(0.45 * NARROWEST, WIDEST, 15)
"""Vessels are drawn in 14 classes of width: one call for all that are alike."""


def draw_vessels(rng: np.random.Generator, lung: Lung) -> list[Stroke]:
    """Strokes of one lung's vessels; they may run over the lung's border and are cut there by the renderer.

    A thinner vessel has less weight, as it absorbs less.
    """
    angle = np.linspace(-1.5, 1.5, STEMS) + rng.uniform(-0.12, 0.12, STEMS)
    length = np.array([_reach(lung, a) for a in angle]) * rng.uniform(0.7, 0.95, STEMS)
    width = WIDEST * rng.uniform(0.5, 0.95, STEMS) * np.where(angle < 0, 0.75, 1.0)
    start = lung.hilum + rng.normal(0, (0.012, 0.022), (STEMS, 2))
    generations = []
    for children in CHILDREN:
        points, turns = _branches(rng, start, angle, length, lung.side)
        taper = width[:, None] * np.linspace(1.0, 0.45, STEPS + 1)
        generations.append((points, taper))
        at = np.array(children, int)
        shape = (len(start), len(at))
        sign = np.where((at + rng.integers(0, 2, (shape[0], 1))) % 2, 1.0, -1.0)
        angle = (turns[:, at - 1] + sign * rng.uniform(0.3, 0.85, shape)).ravel()
        length = (length[:, None] * (1.2 - at / STEPS) * rng.uniform(0.4, 0.75, shape) + 0.012).ravel()
        width = (taper[:, at] * rng.uniform(0.5, 0.75, shape)).ravel()
        start = points[:, at].reshape(-1, 2)
        seen = width > NARROWEST
        start, angle, length, width = start[seen], angle[seen], length[seen], width[seen]
    return _strokes(generations[:FINE], 1) + _strokes(generations[FINE:], 2)


def _reach(lung: Lung, angle: float) -> float:
    """Distance from hilum to border in one direction."""
    direction = np.array([np.cos(angle) * lung.side, np.sin(angle)])
    offset = lung.outline - lung.hilum
    along = offset @ direction
    aside = np.abs(offset @ np.array([-direction[1], direction[0]]))
    return float(along[np.argmin(np.where(along > 0.02, aside, np.inf))])


def _branches(
    rng: np.random.Generator, start: Curve, angle: NDArray[np.float64], length: NDArray[np.float64], side: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (branches, STEPS + 1, 2) of slightly winding branches, and the direction of each step."""
    count = len(start)
    curl = rng.normal(0, 0.06, (count, 1)) * np.arange(STEPS)
    turns = angle[:, None] + np.cumsum(rng.normal(0, 0.09, (count, STEPS)), axis=1) + curl
    moves = np.stack([np.cos(turns) * side, np.sin(turns)], axis=-1) * (length / STEPS)[:, None, None]
    points = start[:, None] + np.cumsum(np.pad(moves, ((0, 0), (1, 0), (0, 0))), axis=1)
    return points, turns


def _strokes(generations: list[tuple[NDArray[np.float64], NDArray[np.float64]]], piece: int) -> list[Stroke]:
    """Branches cut into pieces of `piece` steps, those of like width in one stroke."""
    starts = range(0, STEPS, piece)
    pieces = np.concatenate([points[:, first : first + piece + 1] for points, _ in generations for first in starts])
    classes = np.digitize(np.concatenate([taper[:, first] for _, taper in generations for first in starts]), WIDTHS) - 1
    middle = np.sqrt(WIDTHS[:-1] * WIDTHS[1:]).tolist()
    return [Stroke(pieces[classes == c], middle[c], (middle[c] / WIDEST) ** 0.5) for c in np.unique(classes).tolist()]
