"""What a scanner adds to a phantom: the sharpness of its kernel, noise whose grain is the kernel's, and streaks between the shoulders."""

from dataclasses import dataclass

import cv2
import numpy as np

from chestseg.phantoms.ct.shapes import Field
from chestseg.seed import seed_for

LEAST, MOST = 5.0, 45.0
"""Bounds of the noise's deviation in HU."""
GRAIN_MM = 0.55


@dataclass(frozen=True)
class Scanner:
    """Settings of one scan."""

    noise: float
    """HU of deviation in a voxel of one cubic millimetre in the middle of the body."""
    sharpness: float
    """Negative smooths, positive exaggerates edges."""
    seed: int


def draw_scanner(rng: np.random.Generator, seed: int) -> Scanner:
    """Draw a scan with a soft or a sharp kernel."""
    sharp = rng.random() < 0.45
    return Scanner(rng.uniform(13, 22) * (1.5 if sharp else 1.0), rng.uniform(0.2, 0.6) if sharp else rng.uniform(-0.4, 0.1), seed)


def scan(hu: Field, scanner: Scanner, index: int, spacing: tuple[float, float, float]) -> Field:
    """One slice (H, W) in HU as the scanner shows it; `spacing` in mm along slices, rows and columns; `index` chooses the noise."""
    rng = np.random.default_rng(seed_for("ct noise", scanner.seed, index))
    pixel = (spacing[1] + spacing[2]) / 2
    soft = cv2.GaussianBlur(hu, (0, 0), max(0.45, 0.7 / pixel))
    shown = hu + scanner.sharpness * (hu - soft)
    grain = rng.standard_normal(hu.shape, np.float32)
    if pixel < 2 * GRAIN_MM:
        grain = cv2.GaussianBlur(grain, (0, 0), GRAIN_MM / pixel)
    grain -= 0.6 * cv2.GaussianBlur(grain, (0, 0), 3 * GRAIN_MM / pixel)
    strength = np.clip(scanner.noise / np.sqrt(np.prod(spacing)), LEAST, MOST) / grain.std()
    path = _path(hu, spacing[2])
    streaks = cv2.GaussianBlur(rng.standard_normal(hu.shape, np.float32), (0, 0), sigmaX=14 / pixel, sigmaY=max(0.35, 0.5 / pixel))
    streaks *= np.maximum(path - 1.05, 0) * 0.8 * strength * grain.std() / (streaks.std() + 1e-6)
    return np.asarray(shown + grain * strength * (0.55 + 0.45 * path**1.5) + streaks, np.float32)


def _path(hu: Field, column: float) -> Field:
    """Attenuation along each row (H, 1), about 1 in the middle of a chest and more between the shoulders."""
    length = np.maximum(hu + 1000, 0).sum(1, keepdims=True) * (column / 1000)
    return np.asarray(cv2.GaussianBlur(length, (0, 0), 4) / 260, np.float32)
