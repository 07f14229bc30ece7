"""A generated patient, and where lungs, heart, skin and arms lie in one picture of that patient."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from chestseg.phantoms.radiograph.shapes import Curve, ellipse, mirrored, ribbon, smooth

View = Literal["AP", "PA"]
SIDES = (-1.0, 1.0)
"""Signs of x: the patient's right lung lies at the image's left."""

WALL = [(0.12, 0.16), (0.18, 0.06), (0.34, 0.0), (0.55, 0.045), (0.73, 0.15), (0.87, 0.34), (0.96, 0.58), (1.0, 0.82), (0.99, 1.0)]
"""Chest wall from the mediastinum over the apex to the costophrenic angle, in lung widths and lung heights."""
DOME = [(0.99, 0.0), (0.93, 0.42), (0.78, 0.85), (0.52, 1.0), (0.28, 0.88), (0.08, 0.55)]
"""Diaphragm from the costophrenic angle to the spine, in lung widths and heights of the dome."""
MEDIASTINUM = [
    (-0.20, 0.040, 0.040),
    (0.05, 0.045, 0.045),
    (0.20, 0.052, 0.050),
    (0.34, 0.054, 0.056),
    (0.46, 0.058, 0.062),
    (0.60, 0.070, 0.085),
    (1.05, 0.060, 0.070),
]
"""Height in lung heights below the apex, and the distance of its border from the midline to the patient's right and left."""


@dataclass(frozen=True)
class Patient:
    """What stays the same from one picture of a patient to the next; lengths are shares of the picture's edge."""

    sex: Literal["F", "M"]
    age: int
    half_width: float
    """Of the rib cage, inside."""
    apex: float
    """Upper end of the lungs."""
    length: float
    """From apex to costophrenic angle after breathing in."""
    heart: float
    """Cardiothoracic ratio on a PA picture."""
    wall: float
    """Soft tissue outside the ribs at the side of the chest."""
    breast: float
    """Size of the breasts, 0 to 1."""
    tilt: float
    """Vertical extent of a middle rib from its head to the breastbone."""
    texture: float
    """Strength of the lung markings, about 1."""


@dataclass(frozen=True)
class Lung:
    """One lung field's border in two pieces, and the point its vessels come from."""

    side: float
    wall: Curve
    """Chest wall from the top of the mediastinum over the apex down to the costophrenic angle."""
    diaphragm: Curve
    """From the costophrenic angle over the dome to the spine."""
    hilum: Curve
    """One point (2,)."""

    @property
    def outline(self) -> Curve:
        """Closed polygon; its inner border runs along the spine, behind the heart."""
        return np.vstack([self.wall, self.diaphragm])


@dataclass(frozen=True)
class Thorax:
    """Outlines of one patient in one picture."""

    patient: Patient
    view: View
    base: float
    """Lower end of the lungs."""
    lungs: tuple[Lung, Lung]
    """The image's left one, which is the patient's right one, first."""
    organs: tuple[Curve, ...]
    """Closed outlines of mediastinum, heart and aortic arch: what hides the lung behind it."""
    body: tuple[Curve, ...]
    """Closed outlines of the arms and of head, neck and trunk."""
    arms: tuple[Curve, Curve]
    """Axes of the upper arms."""


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw one adult patient."""
    female = rng.random() < 0.45
    return Patient(
        sex="F" if female else "M",
        age=int(rng.integers(18, 91)),
        half_width=rng.uniform(0.31, 0.37) - 0.01 * female,
        apex=rng.uniform(0.10, 0.15),
        length=rng.uniform(0.63, 0.70),
        heart=rng.uniform(0.40, 0.52),
        wall=rng.uniform(0.04, 0.11),
        breast=female * rng.uniform(0.3, 1.0),
        tilt=rng.uniform(0.17, 0.24),
        texture=rng.uniform(0.8, 1.2),
    )


def draw_thorax(rng: np.random.Generator, patient: Patient, view: View) -> Thorax:
    """Lay out a patient's chest for one picture: an AP one is taken lying or sitting, less inspired and with a larger heart."""
    base = patient.apex + patient.length * (rng.uniform(0.82, 0.95) if view == "AP" else rng.uniform(0.97, 1.03))
    ratio = patient.heart * (rng.uniform(1.08, 1.2) if view == "AP" else 1.0)
    right, left = (_lung(rng, patient, side, base) for side in SIDES)
    organs = _organs(rng, patient, ratio, base)
    right_arm, left_arm = (_arm(rng, patient, view, side) for side in SIDES)
    skin = _skin(rng, patient, base)
    body = (ribbon(right_arm, 0.13), ribbon(left_arm, 0.13), skin)
    return Thorax(patient, view, base, (right, left), organs, body, (right_arm, left_arm))


def _lung(rng: np.random.Generator, patient: Patient, side: float, base: float) -> Lung:
    left = 0.5 + side / 2
    width = patient.half_width * rng.uniform(0.97, 1.03)
    top = patient.apex + rng.uniform(-0.008, 0.008)
    base += 0.012 * left + rng.uniform(-0.01, 0.01)
    rise = rng.uniform(0.085, 0.13) - 0.018 * left
    wall = smooth([(x * width, top + y * (base - top)) for x, y in WALL])
    diaphragm = smooth([(x * width, base - y * rise) for x, y in DOME], 40)
    return Lung(side, mirrored(wall, side), mirrored(diaphragm, side), np.array([0.075 * side, top + 0.44 * (base - top)]))


def _organs(rng: np.random.Generator, patient: Patient, ratio: float, base: float) -> tuple[Curve, ...]:
    top, length = patient.apex, base - patient.apex
    rows = np.array(MEDIASTINUM)
    rows[:, 1:] += rng.uniform(-0.004, 0.004, (len(rows), 2))
    rows[:, 0] = top + rows[:, 0] * length
    mediastinum = np.vstack([smooth(rows[:, [1, 0]] * [-1, 1]), smooth(rows[:, [2, 0]])[::-1]])
    diameter = 2 * patient.half_width * ratio
    left = diameter * rng.uniform(0.66, 0.72)
    right = diameter - left
    heart = [
        (-0.03, 0.40), (0.055, 0.40), (0.40 * left, 0.50), (0.72 * left, 0.62), (0.96 * left, 0.76), (left, 0.84), (0.86 * left, 0.95),
        (0.3 * left, 1.0), (-0.45 * right, 0.98), (-0.9 * right, 0.88), (-right, 0.74), (-0.9 * right, 0.60), (-0.6 * right, 0.48),
        (-0.03, 0.40),
    ]  # fmt: skip
    arch = ellipse((0.018, top + 0.27 * length), (rng.uniform(0.044, 0.064), 0.055))
    return mediastinum, smooth([(x, top + y * length) for x, y in heart], 80), arch


def _skin(rng: np.random.Generator, patient: Patient, base: float) -> Curve:
    flank = patient.half_width + patient.wall
    neck = rng.uniform(0.085, 0.115)
    drop = rng.uniform(0.0, 0.03)
    shoulder = [(neck + 0.04, 0.015), (0.27, 0.05), (0.38, 0.075), (0.46, 0.115), (0.50, 0.20)]
    trunk = [(max(flank + 0.02, 0.43), 0.36), (flank, 0.55), (flank, 0.75), (flank - 0.005, base + 0.1), (flank, 1.3)]
    side = smooth([(neck, -0.2), (neck, -0.04), *((x, y + drop) for x, y in shoulder), *trunk], 120)
    return np.vstack([side, mirrored(side, -1)[::-1]])


def _arm(rng: np.random.Generator, patient: Patient, view: View, side: float) -> Curve:
    spread = rng.uniform(0.10, 0.22) if view == "PA" else rng.uniform(0.0, 0.08)
    middle = max(patient.half_width + patient.wall, 0.38) + 0.065 + rng.uniform(-0.01, 0.02)
    axis = [(0.40, 0.20), (0.485, 0.30), (middle + 0.3 * spread, 0.45), (middle + 0.7 * spread, 0.7), (middle + spread, 1.3)]
    return mirrored(smooth(axis, 40), side)
