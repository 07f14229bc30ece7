"""Arteries, veins and bronchi inside the lungs of a CT phantom: trees that fill the lungs and thin out by Murray's law.

Each tree is a balanced minimum spanning tree (Cuntz et al. 2010, doi 10.1371/journal.pcbi.1000877) over points spread through a lung.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from chestseg.phantoms.ct.chest import Chest
from chestseg.phantoms.ct.organs import Organs
from chestseg.phantoms.ct.section import lung_at
from chestseg.phantoms.ct.shapes import Field, Plane

TARGETS = 1100
"""Points a tree reaches in one lung."""
BALANCE = 0.45
"""Weight of the way back to the root against the length of a new branch."""
TWIG, MURRAY = 0.42, 2.55
"""Radius in mm of a last branch, and the exponent by which radii add up at a fork (3 in Murray's law, less where measured)."""
PIECES = 3
"""Straight pieces a branch is drawn in."""
BRONCHUS = 1.9
"""Arteries at least this wide have a bronchus beside them."""
FINEST = 0.8
"""Vessels are drawn on pixels no larger than this and averaged."""
FRACTION_BITS = 4
ROUND = np.pi / 4


@dataclass(frozen=True)
class Branches:
    """Straight pieces from `start` to `end` (n, 3) of `radius` (n,), thin ones first."""

    start: Field
    end: Field
    radius: Field


def draw_vessels(rng: np.random.Generator, chest: Chest, organs: Organs) -> tuple[Branches, Branches]:
    """Vessels, and bronchi, of both lungs."""
    vessels, bronchi = [], []
    fork = chest.carina
    for side in (-1, 1):
        targets = _spread(rng, chest, organs, side)
        roots = [(side * 46, 14, fork - 28), (side * 44, 6, fork - 62)]
        for kind, (root, part) in enumerate(zip(roots, (targets[::2], targets[1::2]), strict=True)):
            tree = _grow(rng, np.array(root, np.float32), part)
            vessels.append(tree)
            if kind == 0:
                bronchi.append(_beside(tree))
    return _joined(vessels), _joined(bronchi)


def _spread(rng: np.random.Generator, chest: Chest, organs: Organs, side: int) -> Field:
    """Points through one lung (n, 3), a little inside its surface."""
    low, high = (8, -chest.half_depth, 0), (chest.half_width, chest.half_depth, chest.length)
    points = rng.uniform(low, high, (9 * TARGETS, 3)).astype(np.float32) * np.array([side, 1, 1], np.float32)
    return points[lung_at(chest, organs, points) < -2.5][: 2 * TARGETS]


def _grow(rng: np.random.Generator, root: Field, targets: Field) -> Branches:
    """Join targets to the tree one after another, nearest to the root first, each where branch and way back are shortest."""
    order = np.argsort(np.linalg.norm(targets - root, axis=1) + rng.normal(0, 6, len(targets)))
    nodes = np.vstack([root, targets[order]]).astype(np.float32)
    parent, way = np.zeros(len(nodes), int), np.zeros(len(nodes), np.float32)
    for i in range(1, len(nodes)):
        gap = np.sqrt(np.square(nodes[:i] - nodes[i]).sum(1))
        parent[i] = np.argmin(gap + BALANCE * way[:i])
        way[i] = gap[parent[i]] + way[parent[i]]
    leaves = np.ones(len(nodes))
    for i in range(len(nodes) - 1, 0, -1):
        leaves[parent[i]] += leaves[i]
    return _bend(nodes, parent, (TWIG * leaves ** (1 / MURRAY)).astype(np.float32))


def _bend(nodes: Field, parent: NDArray[np.int_], radius: Field) -> Branches:
    """Branches leave their parent in its direction and curve to their end (quadratic Bezier curves)."""
    start, end = nodes[parent[1:]], nodes[1:]
    onward = nodes[parent] - nodes[parent[parent]]
    onward /= np.linalg.norm(onward, axis=1, keepdims=True) + 1e-6
    control = (start + end) / 2 + onward[1:] * 0.22 * np.linalg.norm(end - start, axis=1, keepdims=True)
    t = np.linspace(0, 1, PIECES + 1, dtype=np.float32)[:, None, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    widths = np.tile(radius[1:], PIECES)
    return Branches(curve[:-1].reshape(-1, 3), curve[1:].reshape(-1, 3), widths)


def _beside(tree: Branches) -> Branches:
    """Bronchi run beside the wider arteries."""
    wide = tree.radius > BRONCHUS
    aside = (tree.radius[wide] * 1.9)[:, None] * np.array([0.35, -0.65, 0.65], np.float32)
    return Branches(tree.start[wide] + aside, tree.end[wide] + aside, 0.85 * tree.radius[wide])


def _joined(trees: list[Branches]) -> Branches:
    radius = np.concatenate([tree.radius for tree in trees])
    order = np.argsort(radius, kind="stable")
    start, end = (np.concatenate([getattr(tree, name) for tree in trees])[order] for name in ("start", "end"))
    return Branches(start, end, radius[order])


def trace(branches: Branches, plane: Plane, grown: float = 0.0) -> Field:
    """Share of each voxel (H, W) of a plane that branches take up, 0 to 1; `grown` widens each by so many millimetres."""
    factor = max(1, int(np.ceil(plane.pixel / FINEST)))
    start, end, radius = _within(branches, plane, grown)
    axis = end - start
    steep = np.abs(axis[:, 2]) / (np.linalg.norm(axis, axis=1) + 1e-6)
    tall = 2 * ROUND * radius / np.sqrt(np.maximum(1 - steep**2, 1e-4))
    width = 2 * radius * factor / plane.pixel
    weight = np.minimum(1, tall / plane.thickness) * np.minimum(1, width)
    canvas = np.zeros((plane.shape[0] * factor, plane.shape[1] * factor), np.uint8)
    row, column = plane.steps
    corner = np.array([plane.x[0, 0] - column / 2, plane.y[0, 0] - row / 2])
    scale = factor / np.array([column, row])
    ends = [np.round(((p[:, :2] - corner) * scale - 0.5) * (1 << FRACTION_BITS)).astype(np.int32) for p in (start, end)]
    levels, widths = np.round(255 * weight).astype(int), np.maximum(1, np.round(width)).astype(int)
    # Faint before bright: where two cross, the brighter one stays.
    for i in np.argsort(levels, kind="stable").tolist():
        cv2.line(canvas, ends[0][i].tolist(), ends[1][i].tolist(), int(levels[i]), int(widths[i]), cv2.LINE_AA, FRACTION_BITS)
    if factor > 1:
        canvas = cv2.resize(canvas, plane.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(canvas * np.float32(1 / 255), np.float32)


def _within(branches: Branches, plane: Plane, grown: float) -> tuple[Field, Field, Field]:
    """The parts of branches between the upper and lower face of a plane."""
    radius = branches.radius + np.float32(grown)
    half = plane.thickness / 2
    low, high = plane.z - half, plane.z + half
    z0, z1 = branches.start[:, 2], branches.end[:, 2]
    near = (np.maximum(z0, z1) + 0.5 * radius > low) & (np.minimum(z0, z1) - 0.5 * radius < high)
    start, end, radius = branches.start[near], branches.end[near], radius[near]
    rise = end[:, 2] - start[:, 2]
    rise = np.where(np.abs(rise) < 1e-3, 1e-3, rise)
    t0, t1 = (low - start[:, 2]) / rise, (high - start[:, 2]) / rise
    first, last = np.clip(np.minimum(t0, t1), 0, 1), np.clip(np.maximum(t0, t1), 0, 1)
    axis = end - start
    return start + first[:, None] * axis, start + last[:, None] * axis, radius
