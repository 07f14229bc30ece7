"""Pneumothorax: how far a lung has fallen back from the chest wall, and what that leaves to be seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chestseg.phantoms.radiograph.anatomy import Lung, Thorax
from chestseg.phantoms.radiograph.shapes import Curve

PLEURA = 0.0024
"""Width of the visceral pleural line, as a share of the picture's edge: about a millimetre."""
BOTH_SIDES = 0.1
"""Share of positive phantoms with air on both sides."""


@dataclass(frozen=True)
class Pneumothorax:
    """Air between the wall of one lung field and the lung that has fallen back to `collapsed`."""

    lung: Lung
    collapsed: Curve
    """Closed outline of the lung that is left."""
    line: Curve
    """The part of that outline where the visceral pleura shows."""
    line_width: float
    line_strength: float
    """0 to 1."""
    opacity: float
    """Share of its air that the fallen lung has lost."""


def draw_pneumothoraces(rng: np.random.Generator, thorax: Thorax) -> tuple[Pneumothorax, ...]:
    """One, or sometimes two, of varied pattern and size: apical caps, crescents from apex to base, and large collapses."""
    first = int(rng.random() < 0.45)
    sides = (first, 1 - first) if rng.random() < BOTH_SIDES else (first,)
    return tuple(_pneumothorax(rng, thorax.lungs[side]) for side in sides)


def _pneumothorax(rng: np.random.Generator, lung: Lung) -> Pneumothorax:
    fall = _fall(rng, np.linspace(0, 1, len(lung.wall)))
    pleura = lung.wall + (lung.hilum - lung.wall) * fall[:, None]
    lift = fall[-1] * np.linspace(1, 0, len(lung.diaphragm)) ** 1.5
    floor = lung.diaphragm + (lung.hilum - lung.diaphragm) * lift[:, None]
    visible = pleura[fall > 0.015]
    return Pneumothorax(
        lung=lung,
        collapsed=np.vstack([pleura, floor]),
        line=np.vstack([visible, floor[lift > 0.05]]),
        line_width=PLEURA * rng.uniform(0.8, 1.25),
        line_strength=rng.uniform(0.6, 0.96),
        opacity=rng.uniform(0.07, 0.18),
    )


def _fall(rng: np.random.Generator, along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the way to the hilum that the pleura has moved, at places `along` the chest wall from mediastinum (0) to base (1)."""
    pattern = rng.choice(["cap", "crescent", "large"], p=[0.35, 0.45, 0.20])
    if pattern == "cap":
        fall = rng.uniform(0.14, 0.42) * np.clip(1 - along / rng.uniform(0.42, 0.62), 0, 1) ** rng.uniform(0.5, 0.9)
    elif pattern == "crescent":
        fall = rng.uniform(0.13, 0.34) * np.clip(1 - (along / rng.uniform(0.75, 1.02)) ** rng.uniform(1.2, 2.5), 0, 1)
    else:
        fall = rng.uniform(0.38, 0.68) * (1 - rng.uniform(0.1, 0.5) * along)
    return fall * (1 + 0.06 * np.sin(2 * np.pi * (rng.uniform(1, 2.5) * along + rng.random())))
