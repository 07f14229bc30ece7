"""Ribs, clavicles, shoulder blades, upper arms and spine of a phantom, as areas with a brighter cortex."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chestseg.phantoms.radiograph.anatomy import SIDES, Lung, Thorax
from chestseg.phantoms.radiograph.shapes import Curve, Stroke, ellipse, mirrored, ribbon, smooth, tangents

RIBS, TRUE_RIBS = 12, 7
"""Ribs a side, and how many of them have an anterior arc that shows."""
CORTEX = 0.0022
"""Width of the bright edge of a bone, as a share of the picture's edge."""
WAIST = np.array([[1.0, -1.0], [0.93, -0.5], [0.9, 0.0], [0.93, 0.5], [1.0, 1.0]])
"""One border of a vertebral body of half width and half height 1; the other is its mirror image."""


@dataclass(frozen=True)
class Bone:
    """A bone's closed outline and the lines of its cortex (lines, n, 2); `density` and `cortex`, 0 to 1, are their weights."""

    area: Curve
    edges: Curve
    density: float
    cortex: float


@dataclass(frozen=True)
class Skeleton:
    """Bones in groups that add up where they cross; within a group they hardly overlap."""

    posterior: tuple[Bone, ...]
    anterior: tuple[Bone, ...]
    shoulders: tuple[Bone, ...]
    vertebrae: tuple[Bone, ...]
    processes: tuple[Stroke, ...]
    """End plates, pedicles and spinous processes of the vertebrae."""


def draw_skeleton(body: np.random.Generator, picture: np.random.Generator, thorax: Thorax) -> Skeleton:
    """Ribs and spine come from the patient's draws, shoulders, which move, from the picture's."""
    posterior, anterior = _ribs(body, thorax)
    vertebrae, processes = _spine(body)
    return Skeleton(tuple(posterior), tuple(anterior), tuple(_shoulders(picture, thorax)), tuple(vertebrae), tuple(processes))


def _ribs(rng: np.random.Generator, thorax: Thorax) -> tuple[list[Bone], list[Bone]]:
    posterior, anterior = [], []
    top = thorax.patient.apex
    pitch = (thorax.base - top) * rng.uniform(0.096, 0.104)
    first = top - rng.uniform(0.005, 0.02)
    strength = rng.uniform(0.75, 1.0)
    for lung in thorax.lungs:
        for index in range(RIBS):
            fall = thorax.patient.tilt * (0.45 + 0.55 * min(1.0, index / 4)) * rng.uniform(0.94, 1.06)
            head = first + index * pitch + rng.uniform(-0.004, 0.004)
            back, front = _rib(head, fall, 0.004 + _wall_at(lung, head + fall / 2))
            width = 0.019 + 0.0008 * index + rng.uniform(-0.001, 0.001)
            posterior.append(_band(mirrored(back, lung.side), width * _foreshortening(back), strength * (1 - 0.05 * index)))
            if index < TRUE_RIBS:
                anterior.append(_band(mirrored(front, lung.side), 1.25 * width * _foreshortening(front), strength * 0.62))
    return posterior, anterior


def _wall_at(lung: Lung, y: float) -> float:
    lateral = lung.wall[np.argmin(lung.wall[:, 1]) :]
    return float(np.interp(y, lateral[:, 1], np.abs(lateral[:, 0])))


def _rib(head: float, fall: float, reach: float) -> tuple[Curve, Curve]:
    """Posterior and anterior arc of one rib.

    A rib is a tilted ring about the chest: seen from the front it is x = w sin(a), y = y0 + h (1 - cos a) / 2, with a from 0 at the spine
    to pi at the breastbone, flattened at its side and sagging a little behind.
    """

    def ring(angle: NDArray[np.float64]) -> Curve:
        across = 0.02 + (reach - 0.02) * np.sin(angle) ** 0.9
        return np.column_stack([across, head + fall * (1 - np.cos(angle)) / 2 - 0.012 * np.sin(2 * angle)])

    return ring(np.linspace(0.02, 0.52 * np.pi, 40)), ring(np.linspace(0.48 * np.pi, 0.80 * np.pi, 30))


def _foreshortening(curve: Curve) -> NDArray[np.float64]:
    """A rib is seen broadest where it runs across, and on edge at the side of the chest."""
    return 0.72 + 0.28 * np.abs(tangents(curve)[:, 0])


def _band(curve: Curve, width: float | NDArray[np.float64], density: float) -> Bone:
    area = ribbon(curve, width)
    return Bone(area, area.reshape(2, -1, 2), density, density)


def _shoulders(rng: np.random.Generator, thorax: Thorax) -> list[Bone]:
    bones = []
    lift = rng.uniform(0.0, 0.03) + (0.01 if thorax.view == "AP" else 0.0)
    for side, arm in zip(SIDES, thorax.arms, strict=True):
        inner = thorax.patient.apex + 0.085 + rng.uniform(-0.008, 0.008)
        outer = thorax.patient.apex + 0.015 - lift + rng.uniform(-0.008, 0.008)
        head = mirrored(ellipse((0.435, outer + 0.075), (0.038, 0.038)), side)
        shaft = smooth(np.vstack([[side * 0.44, outer + 0.08], arm[10::6]]), 40)
        bones += [
            _clavicle(rng, side, inner, outer),
            _blade(rng, thorax, side, outer),
            Bone(head, head[None], 0.7, 0.4),
            _band(shaft, 0.04, rng.uniform(0.6, 0.8)),
        ]
    return bones


def _clavicle(rng: np.random.Generator, side: float, inner: float, outer: float) -> Bone:
    axis = smooth([(0.035, inner), (0.10, inner - 0.022), (0.19, (inner + outer) / 2 - 0.005), (0.28, outer), (0.36, outer - 0.005)], 50)
    along = np.abs(np.linspace(-1, 1, 50))
    rounded = np.sqrt(1.0001 - along**12)
    return _band(mirrored(axis, side), (0.019 + 0.010 * along**2) * rounded, rng.uniform(0.7, 0.95))


def _blade(rng: np.random.Generator, thorax: Thorax, side: float, top: float) -> Bone:
    """Shoulder blade; an AP picture has it over the lung, in a PA one the arms turn it aside."""
    inner = rng.uniform(0.25, 0.30) if thorax.view == "AP" else rng.uniform(0.31, 0.37)
    tip = top + rng.uniform(0.30, 0.36)
    medial = [(inner + 0.05, top + 0.03), (inner + 0.012, top + 0.08), (inner, top + 0.17), (inner + 0.02, tip - 0.05), (inner + 0.05, tip)]
    lateral = [(inner + 0.05, tip), (inner + 0.09, tip - 0.06), (0.40, top + 0.12), (0.415, top + 0.07), (0.40, top + 0.02)]
    area = mirrored(np.vstack([smooth(medial, 40), smooth(lateral, 40)]), side)
    density = rng.uniform(0.25, 0.45)
    return Bone(area, area.reshape(2, -1, 2), density, 0.9 * density)


def _spine(rng: np.random.Generator) -> tuple[list[Bone], list[Stroke]]:
    bodies, marks = [], []
    density, bend = rng.uniform(0.45, 0.85), rng.uniform(-0.012, 0.012)
    y, pitch = -0.03, rng.uniform(0.047, 0.056)
    while y < 1.1:
        centre = np.array([bend * np.sin(np.pi * y), y + 0.42 * pitch])
        half = np.array([0.030 + 0.012 * min(max(y, 0), 1), 0.42 * pitch])
        borders = np.stack([centre + half * WAIST, centre - half * WAIST])
        plates = np.stack([[borders[0, 0], borders[1, -1]], [borders[0, -1], borders[1, 0]]])
        ovals = np.stack([ellipse(centre + half * at, (0.006, 0.011), 14) for at in ((-0.6, -0.3), (0.6, -0.3), (0.0, 0.7))])
        bodies.append(Bone(borders.reshape(-1, 2), borders, density, 0.7 * density))
        marks += [Stroke(plates, 1.5 * CORTEX, 0.55 * density), Stroke(ovals, CORTEX, 0.5 * density)]
        y, pitch = y + pitch, pitch * 1.012
    return bodies, marks
