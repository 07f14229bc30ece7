"""Milliseconds for a training patch of a volume on one core: chestseg's patches against MONAI's, and three ways to deform one.

    python -m benchmarks.augmentation3d [--patch 16,128,128] [--spacing 5,1.4,1.4] [--patches 100] [--repeats 5]

Both sides cut from the same volume in memory with the positions of the mask known beforehand, and transform with the same chances and
magnitudes. MONAI interpolates grids in the patch as it was cut, so its corners are padded; chestseg cuts what a turned patch needs.
Bending is set apart since MONAI's costs more than all the rest. Asked: a 16x128x128 patch in less than 20 ms. Needs `pip install monai`.
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from benchmarks.sides import in_turn, table
from monai import transforms as monai
from scipy.ndimage import gaussian_filter, map_coordinates

from chestseg.config import Spacing, Triple, VolumeStage
from chestseg.data.augmentation3d import KNOTS
from chestseg.data.deformation import Deformation, affine
from chestseg.data.patches import PatchExamples

VOLUME = (96, 320, 320)


class OneVolume:
    """A smooth random volume with its largest values as the mask."""

    def __init__(self) -> None:
        smooth = gaussian_filter(np.random.default_rng(0).standard_normal(VOLUME, np.float32), 4)
        self.values = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
        self.truth = (self.values > np.percentile(self.values, 98)).astype(np.uint8)
        self.voxels = np.argwhere(self.truth).astype(np.int32)[::10]

    def image(self, index: int, spacing: Spacing) -> np.ndarray:
        """Grey levels."""
        return self.values

    def mask(self, index: int, spacing: Spacing) -> np.ndarray:
        """Mask."""
        return self.truth

    def foreground(self, index: int, spacing: Spacing) -> np.ndarray:
        """Every tenth voxel of the mask."""
        return self.voxels


def with_monai(volume: OneVolume, patch: Triple, spacing: Spacing, bend: bool) -> Callable[[], object]:
    """MONAI's transforms with the chances and magnitudes of strength 1."""
    keys, image = ["image", "mask"], ["image"]
    tilt = 0.0 if spacing[0] > 3 * min(spacing[1:]) else np.pi / 18
    turns = (np.pi / 9, tilt, tilt)
    steps: list[monai.Transform] = [
        monai.RandCropByPosNegLabeld(
            keys, "mask", patch, pos=0.67, neg=0.33, fg_indices_key="mask_fg_indices", bg_indices_key="mask_bg_indices"
        ),
        monai.RandAffined(keys, prob=0.51, rotate_range=turns, scale_range=(0.25,) * 3, mode=("bilinear", "nearest")),
        *([monai.Rand3DElasticd(keys, (5, 8), (50, 150), prob=0.2, mode=("bilinear", "nearest"))] if bend else []),
        *(monai.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
        monai.RandGaussianNoised(image, prob=0.15, std=0.05),
        monai.RandGaussianSmoothd(image, prob=0.2, sigma_x=(0.01, 0.01), sigma_y=(0.5, 1.0), sigma_z=(0.5, 1.0)),
        monai.RandSimulateLowResolutiond(image, prob=0.25, zoom_range=(0.5, 1.0)),
        monai.RandShiftIntensityd(image, prob=0.15, offsets=0.1),
        monai.RandScaleIntensityd(image, prob=0.15, factors=0.25),
        monai.RandAdjustContrastd(image, prob=0.3, gamma=(0.7, 1.4)),
    ]
    transform = monai.Compose(steps).set_random_state(0)
    example = {"image": torch.from_numpy(volume.values)[None] / 255, "mask": torch.from_numpy(volume.truth)[None]}
    example = monai.FgBgToIndicesd("mask")(example)
    return lambda: transform(example)


def milliseconds(make: Callable[[], object], count: int) -> float:
    """Mean over `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        make()
    return 1000 * (time.perf_counter() - start) / count


def deformers(patch: Triple, spacing: Spacing) -> dict[str, Callable[[], object]]:
    """A patch and its mask, rotated, zoomed and bent, by three ways of interpolation."""
    knots = np.random.default_rng(0).uniform(-1, 1, (2, 3, KNOTS, KNOTS)).astype(np.float32)
    deformation = Deformation(affine((0.2, 0.0, 0.0), 1.1, spacing), knots)
    margin = deformation.margin(patch)
    shape = tuple(length + 2 * more for length, more in zip(patch, margin, strict=True))
    source = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    both = torch.from_numpy(np.stack([source, source]))[None].float()
    theta, coarse = torch.from_numpy(deformation.matrix[::-1, ::-1].copy()).float(), torch.from_numpy(knots).transpose(0, 1)[None]

    def by_torch() -> object:
        grid = torch.nn.functional.affine_grid(torch.cat([theta, torch.zeros(3, 1)], 1)[None], [1, 1, *patch], align_corners=True)
        bend = torch.nn.functional.interpolate(coarse, patch, mode="trilinear", align_corners=True)
        return torch.nn.functional.grid_sample(both, grid + bend.permute(0, 2, 3, 4, 1) / 100, align_corners=True).to(torch.uint8)

    def by_scipy() -> object:
        centred = np.meshgrid(*(np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in patch), indexing="ij")
        places = np.tensordot(deformation.matrix, centred, 1) + np.reshape(shape, (3, 1, 1, 1)) / 2
        return [map_coordinates(source, places, order=1, mode="nearest") for _ in range(2)]

    return {"two planar passes": lambda: deformation.apply([source, source], patch), "grid_sample": by_torch, "map_coordinates": by_scipy}


def main() -> None:
    """Measure whole patches, then deformation alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", default="16,128,128")
    parser.add_argument("--spacing", default="5,1.4,1.4")
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    told = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    depth, height, width = map(int, told.patch.split(","))
    slices, rows, columns = map(float, told.spacing.split(","))
    patch, spacing = (depth, height, width), (slices, rows, columns)
    volume = OneVolume()
    examples = PatchExamples(volume, VolumeStage(epochs=1, spacing=spacing, patch=patch))
    seeds = iter(range(10**9))
    sides = {
        "chestseg": lambda: examples(0, next(seeds)),
        "MONAI": with_monai(volume, patch, spacing, bend=True),
        "MONAI without bending": with_monai(volume, patch, spacing, bend=False),
    }
    print(f"\nWhole patches of {told.patch} voxels of {told.spacing} mm, one core, mean over {told.patches}")
    timed = {name: lambda make=make: milliseconds(make, told.patches) for name, make in sides.items()}
    print(table(in_turn(timed, told.repeats), "ms", "chestseg"))
    print("\nA patch and its mask rotated, zoomed and bent")
    timed = {name: lambda make=make: milliseconds(make, told.patches // 5) for name, make in deformers(patch, spacing).items()}
    print(table(in_turn(timed, told.repeats), "ms", "two planar passes"))


if __name__ == "__main__":
    main()
