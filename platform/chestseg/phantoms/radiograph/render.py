"""Turn a drawn phantom into attenuation along the beam and, with the exposure, into a picture and its mask.

Attenuation is 0 in plain air and about 1 through the abdomen. Structures with edges are drawn at the picture's size; what varies
slowly is computed on a small grid and enlarged.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from chestseg.arrays.resize import resize_image
from chestseg.phantoms.radiograph.anatomy import Thorax
from chestseg.phantoms.radiograph.bones import CORTEX
from chestseg.phantoms.radiograph.decoys import Fold
from chestseg.phantoms.radiograph.exposure import expose
from chestseg.phantoms.radiograph.pleura import Pneumothorax
from chestseg.phantoms.radiograph.scene import Dome, Scene
from chestseg.phantoms.radiograph.shapes import Canvas, Layer, Stroke, blur, enlarge

LEAST = 512
"""Smaller pictures are shrunk from this size: OpenCV draws every shape a good half pixel too large."""
SMALL, GRAIN = 128, 192
"""Edge lengths of the grids for slowly varying fields and for the texture of the lungs."""
AIR = 0.64
"""Attenuation that a lung of full depth saves compared with soft tissue."""
THIN = 0.003
"""Vessels narrower than this are drawn sharper than wider ones, whose round section fades towards its edge."""
SPECK = 0.05
"""Areas smaller than this share of the largest one are left out of the mask: slivers beside the mediastinum."""


def render(scene: Scene, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture uint8 (size, size), bright = dense, and mask uint8 {0, 1} of the visible pleural air."""
    canvas = Canvas(max(size, LEAST), scene.pose)
    mask = air_mask(scene, canvas)
    picture = expose(attenuate(scene, canvas, mask), scene.exposure, scene.noise_seed)
    if size >= LEAST:
        return picture, mask
    share = resize_image(mask.astype(np.float32), size)
    return resize_image(picture, size), (share >= 0.5).astype(np.uint8)


def air_mask(scene: Scene, canvas: Canvas) -> NDArray[np.uint8]:
    """Inside a lung field, outside its collapsed lung, not behind heart and great vessels; uint8 {0, 1}."""
    air = np.zeros((canvas.size, canvas.size), bool)
    for pneumothorax in scene.pneumothoraces:
        air |= canvas.inside(pneumothorax.lung.outline) & ~canvas.inside(pneumothorax.collapsed)
    air &= ~canvas.inside(*scene.thorax.organs)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(air.astype(np.uint8))
    area = stats[:, cv2.CC_STAT_AREA]
    area[0] = 0
    return (area > SPECK * area.max())[labels].astype(np.uint8)


def attenuate(scene: Scene, canvas: Canvas, mask: NDArray[np.uint8]) -> Layer:
    """Attenuation map: soft tissue, less the air of the lungs, plus markings, bones and what lies over them."""
    size, thorax, small = canvas.size, scene.thorax, Canvas(SMALL, scene.pose)
    field = blur(canvas.fill([lung.outline for lung in thorax.lungs]), 0.0014 * size)
    organs = blur(canvas.fill(thorax.organs), 0.003 * size) * enlarge(_organ_depth(thorax, small), size)
    inflation = AIR * field * enlarge(_lung_depth(thorax, small), size) * (1 - organs)
    markings = _markings(scene, canvas, small) * field * (1 - 0.75 * organs)
    if scene.pneumothoraces:
        air = blur(mask.astype(np.float32), 0.0008 * size)
        inflation *= 1 + 0.12 * air - (1 - air) * _opacity(scene, small, size)
        markings *= 1 - air
        markings += field * (1 - 0.8 * organs) * _pleural_lines(scene.pneumothoraces, canvas)
    total = enlarge(_thickness(scene, small), size) + _bones(scene, canvas)
    total *= blur(canvas.fill(thorax.body), 0.002 * size)
    total += markings - inflation
    total += 0.10 * blur(canvas.draw(scene.decoys.strokes), 0.0006 * size)
    for fold in scene.decoys.folds:
        total += _fold(fold, canvas, small)
    return total


def _pleural_lines(pneumothoraces: tuple[Pneumothorax, ...], canvas: Canvas) -> Layer:
    strokes = [Stroke(p.line, p.line_width, p.line_strength) for p in pneumothoraces]
    return 0.106 * blur(canvas.draw(strokes), 0.0006 * canvas.size)


def _opacity(scene: Scene, small: Canvas, size: int) -> Layer:
    fallen = small.fill([p.collapsed for p in scene.pneumothoraces], [p.opacity for p in scene.pneumothoraces])
    return enlarge(blur(fallen, 1.4), size)


def _thickness(scene: Scene, small: Canvas) -> Layer:
    """Soft tissue in the beam as if there were no lungs: trunk, neck, shoulders, arms, breasts, gas in stomach and windpipe."""
    x, y = small.grid()
    apex, base = scene.thorax.patient.apex, scene.thorax.base
    flank = scene.thorax.patient.half_width + scene.thorax.patient.wall + 0.02
    trunk = _bulge(x / flank) ** 0.7 * (0.93 + 0.15 * _step(y, base - 0.08, 0.16)) * _step(y, apex - 0.17, 0.18)
    neck = 0.80 * _bulge(x / 0.16) ** 0.6 * _step(-y, -0.26, 0.2)
    shoulder = 0.72 * np.exp(-(((np.abs(x) - 0.30) / 0.24) ** 4) - np.abs((y - apex - 0.06) / 0.14) ** 3)
    tissue = np.maximum.reduce([trunk, neck, shoulder, np.full_like(x, 0.36)])
    for breast in scene.breasts:
        tissue += _dome(x, y, breast) * _step(y, breast.centre[1] - 0.9 * breast.radii[1], breast.radii[1])
    for bubble in scene.gas:
        tissue += _dome(x, y, bubble)
    tissue -= 0.17 * np.exp(-((x / 0.019) ** 4)) * _step(-y, -apex - 0.25, 0.04)
    tissue *= 0.45 + 0.55 * _bulge(1 - _inset(small.inside(*scene.thorax.body), 0.05))
    clouds = np.random.default_rng([scene.noise_seed, 0]).standard_normal((24, 24), np.float32)
    tissue += 0.022 * enlarge(clouds, small.size)
    return blur(tissue, 1.0)


def _lung_depth(thorax: Thorax, small: Canvas) -> Layer:
    right, left = (_bulge(1 - _inset(small.inside(lung.outline), 0.11)) for lung in thorax.lungs)
    return blur(0.45 + 0.55 * (right + left), 1.0)


def _organ_depth(thorax: Thorax, small: Canvas) -> Layer:
    return blur(0.50 + 0.42 * np.sqrt(_inset(small.inside(*thorax.organs), 0.09)), 1.4)


def _markings(scene: Scene, canvas: Canvas, small: Canvas) -> Layer:
    """Vessels, fine texture, and the haze of the small vessels about the hila."""
    size, strength = canvas.size, scene.thorax.patient.texture
    layer = blur(canvas.draw(v for v in scene.vessels if v.width < THIN), 0.0006 * size)
    layer += blur(canvas.draw(v for v in scene.vessels if v.width >= THIN), 0.0016 * size)
    grain = np.random.default_rng([scene.noise_seed, 1]).standard_normal((GRAIN, GRAIN), np.float32)
    layer = 0.125 * strength * layer + 0.024 * strength * enlarge(blur(grain, 0.7) - blur(grain, 2.0), size)
    x, y = small.grid()
    haze = np.zeros_like(x)
    for lung in scene.thorax.lungs:
        across, down = lung.hilum.tolist()
        haze += 0.11 * np.exp(-(((x - across) / 0.075) ** 2) - ((y - down - 0.02) / 0.11) ** 2)
    layer += enlarge(haze, size)
    for fading in scene.decoys.fadings:
        across, down = fading.centre.tolist()
        distance = np.hypot(x - across, y - down) / fading.radius
        layer *= enlarge(1 - 0.8 * np.exp(-(distance**3)), size)
    return layer


def _bones(scene: Scene, canvas: Canvas) -> Layer:
    skeleton = scene.skeleton
    layer = 0.06 * canvas.draw(skeleton.processes)
    groups = ((skeleton.posterior, 0.10), (skeleton.anterior, 0.09), (skeleton.shoulders, 0.15), (skeleton.vertebrae, 0.09))
    for bones, strength in groups:
        layer += 0.75 * strength * canvas.fill([bone.area for bone in bones], [bone.density for bone in bones])
        layer += 0.60 * strength * canvas.draw(Stroke(bone.edges, CORTEX, bone.cortex) for bone in bones)
    return blur(layer, 0.0012 * canvas.size)


def _fold(fold: Fold, canvas: Canvas, small: Canvas) -> Layer:
    edge, shift = fold.edge[5:-5], fold.width * fold.away[5:-5]
    ramp = blur(small.fill([np.vstack([edge - 0.5 * shift, (edge + shift)[::-1]])]), 0.5 * fold.width * small.size)
    beyond = canvas.fill([np.vstack([fold.edge, (fold.edge + 0.25 * fold.away)[::-1]])])
    return fold.strength * enlarge(ramp, canvas.size) * blur(beyond, 0.0012 * canvas.size)


def _inset(inside: NDArray[np.bool_], reach: float) -> Layer:
    """Distance from an area's border, 0 outside, rising to 1 at `reach` (a share of the picture's edge) and beyond."""
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(distance / (reach * len(inside)), 1)


def _bulge(offset: Layer) -> Layer:
    """Half chord of a unit circle at `offset` from its centre, 0 beyond its edge."""
    return np.sqrt(np.maximum(1 - offset**2, 0))


def _dome(x: Layer, y: Layer, dome: Dome) -> Layer:
    return dome.strength * _bulge(np.hypot((x - dome.centre[0]) / dome.radii[0], (y - dome.centre[1]) / dome.radii[1]))


def _step(value: Layer, start: float, width: float) -> Layer:
    ramp = np.clip((value - start) / width, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)
