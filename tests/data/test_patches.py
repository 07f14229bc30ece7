"""Where patches lie: near the mask as often as asked, inside the volume, in its middle where it is smaller."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Spacing, VolumeStage
from chestseg.data.patches import PatchExamples, cut, place_patch

SPACING = (2.0, 1.0, 1.0)
PATCH = (8, 16, 16)


class InMemory:
    """One volume whose grey levels tell where they lie."""

    def __init__(self, shape: tuple[int, int, int], voxels: list[tuple[int, int, int]]) -> None:
        self.values = (1 + np.arange(np.prod(shape)) % 255).astype(np.uint8).reshape(shape)
        self.truth = np.zeros(shape, np.uint8)
        for voxel in voxels:
            self.truth[voxel] = 1

    def image(self, index: int, spacing: Spacing) -> np.ndarray:
        return self.values

    def mask(self, index: int, spacing: Spacing) -> np.ndarray:
        return self.truth

    def foreground(self, index: int, spacing: Spacing) -> np.ndarray:
        return np.argwhere(self.truth).astype(np.int32)


class OnDisk(InMemory):
    """The same, memory-mapped for every call."""

    def __init__(self, folder: Path, shape: tuple[int, int, int], voxels: list[tuple[int, int, int]]) -> None:
        super().__init__(shape, voxels)
        self.folder = folder
        np.save(folder / "image.npy", self.values)
        np.save(folder / "mask.npy", self.truth)

    def image(self, index: int, spacing: Spacing) -> np.ndarray:
        return np.load(self.folder / "image.npy", mmap_mode="r")

    def mask(self, index: int, spacing: Spacing) -> np.ndarray:
        return np.load(self.folder / "mask.npy", mmap_mode="r")


def stage(augmentation: float = 0.0, foreground: float = 1.0, spacing: Spacing = SPACING) -> VolumeStage:
    return VolumeStage(epochs=1, spacing=spacing, patch=PATCH, augmentation=augmentation, foreground=foreground)


def test_voxel_lies_anywhere_in_the_middle_half() -> None:
    voxel = np.array([[20, 30, 40]])
    starts = np.array([place_patch(np.random.default_rng(s), (40, 64, 80), PATCH, voxel, 1.0) for s in range(400)])
    within = voxel - starts
    for axis, length in enumerate(PATCH):
        assert set(within[:, axis]) == set(range(length // 4, length - length // 4))


def test_share_of_patches_near_the_mask() -> None:
    voxel = np.array([[2, 2, 2]])
    starts = np.array([place_patch(np.random.default_rng(s), (200, 200, 200), PATCH, voxel, 0.67) for s in range(600)])
    assert np.mean((starts == 0).all(axis=1)) == pytest.approx(0.67, abs=0.06)


def test_patches_elsewhere_reach_every_end_of_the_volume() -> None:
    nothing = np.empty((0, 3), np.int32)
    starts = np.array([place_patch(np.random.default_rng(s), (10, 19, 16), PATCH, nothing, 1.0) for s in range(200)])
    for axis, room in enumerate((2, 3, 0)):
        assert set(starts[:, axis]) == set(range(room + 1))


@pytest.mark.parametrize("voxel", [(0, 0, 0), (19, 39, 49), (0, 39, 20)])
def test_patches_stay_inside_and_hold_the_voxel(voxel: tuple[int, int, int]) -> None:
    arrays = InMemory((20, 40, 50), [voxel])
    examples = PatchExamples(arrays, stage())
    for seed in range(30):
        image, mask = examples(0, seed)
        assert image.shape == mask.shape == PATCH and image.all() and mask.sum() == 1


def test_smaller_volume_lies_in_the_middle_of_zeros() -> None:
    arrays = InMemory((5, 40, 11), [(2, 20, 5)])
    image, mask = PatchExamples(arrays, stage())(0, 3)
    assert not image[:1].any() and not image[6:].any() and not image[:, :, :2].any() and not image[:, :, 13:].any()
    assert image[1:6, :, 2:13].all() and mask[3, :, 7].sum() == 1


@pytest.mark.parametrize("augmentation", [0.0, 1.0])
def test_seed_decides_everything(augmentation: float) -> None:
    arrays = InMemory((20, 40, 50), [(10, 20, 20), (4, 9, 33)])
    examples = PatchExamples(arrays, stage(augmentation, foreground=0.5))
    first = [examples(0, seed) for seed in range(25)]
    again = [pickle.loads(pickle.dumps(examples))(0, seed) for seed in reversed(range(25))][::-1]
    for pair, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(pair, other)
    assert len({image.tobytes() for image, _ in first}) > 20


def test_augmentation_does_not_move_the_patch() -> None:
    arrays = InMemory((40, 60, 60), [])
    plain, augmented = (PatchExamples(arrays, stage(strength)) for strength in (0.0, 1e-9))
    for seed in range(10):
        np.testing.assert_array_equal(np.sort(plain(0, seed)[0], axis=None), np.sort(augmented(0, seed)[0], axis=None))


def test_turned_patches_take_what_lies_around_them() -> None:
    arrays = InMemory((60, 100, 100), [(30, 50, 50)])
    arrays.values[:] = 200
    examples = PatchExamples(arrays, stage(1.0, spacing=(1.0, 1.0, 1.0)))
    emptied = [(examples(0, seed)[0] < 60).mean() for seed in range(40)]
    assert max(emptied) == 0


def test_memory_maps_give_the_same_as_arrays(tmp_path: Path) -> None:
    voxels = [(10, 20, 20)]
    mapped, held = OnDisk(tmp_path, (20, 40, 50), voxels), InMemory((20, 40, 50), voxels)
    for seed in range(10):
        one, other = (PatchExamples(arrays, stage(1.0))(0, seed) for arrays in (mapped, held))
        np.testing.assert_array_equal(one, other)
        assert type(one[0]) is np.ndarray and one[0].flags.writeable


def test_cut_beyond_the_volume_is_zero() -> None:
    volume = np.arange(1, 25, dtype=np.uint8).reshape(2, 3, 4)
    answer = cut(volume, np.array([-1, 1, 3]), np.array([4, 3, 3]))
    assert answer.shape == (4, 3, 3) and answer[1, 0, 0] == volume[0, 1, 3] and np.count_nonzero(answer) == 4
    assert not cut(volume, np.array([9, 9, 9]), np.array([2, 2, 2])).any()
