"""Augmentation of patches of volumes after nnU-Net: mirror, rotate, zoom, bend, noise, blur, lower resolution, change grey levels."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from chestseg.arrays.resample import resample_image
from chestseg.config import Spacing, Triple
from chestseg.data.deformation import Deformation, affine

KNOTS = 4
"""Of elastic bending, along rows and along columns of a patch."""
BEND = 0.04
"""Largest displacement of a knot as a share of the patch's length, small enough that nothing folds."""
THICK = 3
"""Slices more than so many times as thick as pixels are wide are neither tilted nor made thicker still (nnU-Net's rule)."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Everything chance decides about one patch."""

    flips: tuple[int, ...] = ()
    """Axes to mirror."""
    deformation: Deformation | None = None
    noise: tuple[float, int] | None = None
    """Standard deviation in grey levels, and the seed of the noise."""
    blur: float | None = None
    """Standard deviation in pixels of a Gaussian within the slices, as a softer reconstruction kernel would."""
    shrink: tuple[float, float] | None = None
    """Resolution that is left along slices and within them, as shares of the patch's own."""
    grey: np.ndarray | None = None
    """(256,) uint8: the grey level that each becomes."""

    def margin(self, patch: Triple) -> Triple:
        """Voxels needed beyond a patch, on either side of each axis."""
        return self.deformation.margin(patch) if self.deformation else (0, 0, 0)

    def apply(self, image: np.ndarray, mask: np.ndarray, patch: Triple) -> tuple[np.ndarray, np.ndarray]:
        """Make the patch of a uint8 image and its mask of 0 and 1, both of the patch's shape plus `margin` on either side."""
        if self.deformation:
            # A mask interpolated between 0 and 255 keeps a smoother border than one of nearest neighbours.
            image, mask = self.deformation.apply([image, mask * np.uint8(255)], patch)
            mask = (mask > 127).view(np.uint8)
        image, mask = (np.ascontiguousarray(np.flip(array, self.flips)) for array in (image, mask))
        if self.noise:
            sigma, seed = self.noise
            noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
            image = np.clip(image + sigma * noise + 0.5, 0, 255).astype(np.uint8)
        if self.blur:
            image = np.stack([cv2.GaussianBlur(plane, (0, 0), self.blur) for plane in image])
        if self.shrink:
            depth, height, width = image.shape
            small = (depth * self.shrink[0], height * self.shrink[1], width * self.shrink[1])
            image = resample_image(resample_image(image, _whole(small)), image.shape)
        if self.grey is not None:
            image = cv2.LUT(image.reshape(len(image), -1), self.grey).reshape(image.shape)
        return image, mask


class Augmentation3D:
    """Draws what happens to patches at one spacing.

    `strength` scales magnitudes and chances together. At 1 they are near nnU-Net's (Isensee et al. 2021, supplement 4): each axis is
    mirrored half the time; rotated (0.3) by up to 20 degrees in the plane and 10 out of it, zoomed (0.3) by up to 1.25, bent (0.2);
    noise (0.15) of up to 13 grey levels, blur (0.2) of 0.5 to 1 pixel, resolution (0.25) lowered to no less than half, brightness
    (0.15) moved by up to 26 grey levels, contrast (0.15) changed by up to 1.25, gamma (0.3) by up to 1.4.
    """

    def __init__(self, strength: float, spacing: Spacing) -> None:
        self.strength, self.spacing = strength, spacing
        self.thick = spacing[0] > THICK * min(spacing[1:])

    def draw(self, random: np.random.Generator, patch: Triple) -> Draws:
        """Decide about a patch of a shape; how many numbers are drawn does not depend on what they are."""
        if not self.strength:
            return Draws()
        flips = tuple(axis for axis in range(3) if random.random() < 0.5)
        deformation = self._deformation(random, patch)
        noise = (random.uniform(0, 13 * self.strength), int(random.integers(2**63)))
        blur = random.uniform(0.5, 0.5 + 0.5 * self.strength)
        least = 1 / (1 + self.strength)
        along, within = random.uniform(least, 1, 2)
        grey = self._grey(random)
        return Draws(
            flips,
            deformation,
            noise if self._happens(random, 0.15) else None,
            blur if self._happens(random, 0.2) else None,
            (1.0 if self.thick else along, within) if self._happens(random, 0.25) else None,
            grey,
        )

    def _happens(self, random: np.random.Generator, chance: float) -> bool:
        return bool(random.random() < chance * self.strength)

    def _deformation(self, random: np.random.Generator, patch: Triple) -> Deformation | None:
        tilt = 0 if self.thick else 10
        turns = np.radians(np.array([20, tilt, tilt]) * self.strength * random.uniform(-1, 1, 3))
        zoom = (1 + 0.25 * self.strength) ** random.uniform(-1, 1)
        largest = np.reshape(patch, (3, 1, 1)) * BEND * self.strength
        knots = (random.uniform(-1, 1, (2, 3, KNOTS, KNOTS)) * largest).astype(np.float32)
        rotated, zoomed, bent = (self._happens(random, chance) for chance in (0.3, 0.3, 0.2))
        if not (rotated or zoomed or bent):
            return None
        matrix = affine(tuple(turns) if rotated else (0, 0, 0), zoom if zoomed else 1, self.spacing)
        return Deformation(matrix, knots if bent else np.zeros((2, 3, 1, 1), np.float32))

    def _grey(self, random: np.random.Generator) -> np.ndarray | None:
        """Brightness, contrast about the middle grey and gamma, as one table."""
        shift = random.uniform(-0.1, 0.1) * self.strength
        contrast = (1 + 0.25 * self.strength) ** random.uniform(-1, 1)
        gamma = (1 + 0.4 * self.strength) ** random.uniform(-1, 1)
        shifted, stretched, bowed = (self._happens(random, chance) for chance in (0.15, 0.15, 0.3))
        if not (shifted or stretched or bowed):
            return None
        level = np.linspace(0, 1, 256)
        level = (level - 0.5) * (contrast if stretched else 1) + 0.5 + (shift if shifted else 0)
        level = np.clip(level, 0, 1) ** (gamma if bowed else 1)
        return np.rint(255 * level).astype(np.uint8)


def _whole(shape: tuple[float, float, float]) -> Triple:
    """Whole numbers of voxels, one at least."""
    depth, height, width = (max(1, math.ceil(length)) for length in shape)
    return depth, height, width
