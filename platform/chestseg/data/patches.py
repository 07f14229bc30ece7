"""Patches of prepared volumes as a network is shown them in training: where they lie is drawn, then they are cut and augmented."""

from typing import Protocol

import numpy as np

from chestseg.config import Spacing, Triple, VolumeStage
from chestseg.data.augmentation3d import Augmentation3D


class VolumeArrays(Protocol):
    """Where volumes come from: `PreparedVolumes`, or arrays in memory."""

    def image(self, index: int, spacing: Spacing) -> np.ndarray:
        """(D, H, W) uint8; a memory map will do, only what a patch needs is read."""
        ...

    def mask(self, index: int, spacing: Spacing) -> np.ndarray:
        """(D, H, W) uint8, 0 or 1; a memory map will do."""
        ...

    def foreground(self, index: int, spacing: Spacing) -> np.ndarray:
        """(n, 3) int: positions of voxels of the mask, or a fair choice of them; none where the mask is empty."""
        ...


class PatchExamples:
    """Patches of cases by index, all draws decided by a seed.

    With a chance of `stage.foreground` a patch of a positive case holds a voxel of the mask in the middle half of each axis;
    otherwise every place within the volume is equally likely. Where a volume is smaller than the patch it lies in the patch's
    middle, and 0, the lowest HU of the window, around it.
    """

    def __init__(self, arrays: VolumeArrays, stage: VolumeStage) -> None:
        self.arrays, self.spacing, self.foreground = arrays, stage.spacing, stage.foreground
        self.shape: Triple = stage.patch
        self.augmentation = Augmentation3D(stage.augmentation, stage.spacing)

    def __call__(self, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask (0 or 1), uint8 of `shape`."""
        random = np.random.default_rng(seed)
        image, mask = self.arrays.image(index, self.spacing), self.arrays.mask(index, self.spacing)
        start = place_patch(random, image.shape, self.shape, self.arrays.foreground(index, self.spacing), self.foreground)
        draws = self.augmentation.draw(random, self.shape)
        margin = np.array(draws.margin(self.shape))
        first, shape = start - margin, self.shape + 2 * margin
        return draws.apply(cut(image, first, shape), cut(mask, first, shape), self.shape)


def place_patch(random: np.random.Generator, volume: tuple[int, ...], patch: Triple, foreground: np.ndarray, share: float) -> np.ndarray:
    """Draw where a patch starts, (3,) int64: near a voxel of `foreground` with the chance `share`, anywhere otherwise.

    The patch lies inside the volume; along an axis where it does not fit the volume lies in its middle, and the start is negative.
    """
    size, room = np.array(patch), np.array(volume) - np.array(patch)
    start = random.integers(0, np.maximum(room, 0) + 1)
    if random.random() < share and len(foreground):
        voxel = np.asarray(foreground[random.integers(len(foreground))], np.int64)
        start = np.clip(voxel - random.integers(size // 4, size - size // 4), 0, np.maximum(room, 0))
    return np.where(room < 0, -((-room) // 2), start)


def cut(volume: np.ndarray, start: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """A copy of a part of a (D, H, W) array, with 0 where it reaches beyond."""
    end = start + shape
    inside = tuple(slice(max(0, s), max(0, min(e, n))) for s, e, n in zip(start, end, volume.shape, strict=True))
    part = volume[inside]
    if part.shape == tuple(shape):
        return np.array(part)
    answer = np.zeros(shape, volume.dtype)
    first = np.maximum(0, -start)
    answer[tuple(slice(f, f + n) for f, n in zip(first, part.shape, strict=True))] = part
    return answer
