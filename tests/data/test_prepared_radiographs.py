"""Prepared pixels come back as they were written, at any size up to the largest, in any process."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.config import RadiographData
from chestseg.data.prepared import array_path, shard_folder
from chestseg.data.prepared_radiographs import PreparedRadiographs
from tests.data.pictures import prepare_plainly, write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    prepare_plainly(RadiographData(sources=(write_pictures(root / "source", 70),), prepared=str(root / "out"), sizes=(64, 32), folds=4))
    return root / "out"


def test_sizes_rise(folder: Path) -> None:
    assert PreparedRadiographs.open(folder).sizes == (32, 64)


@pytest.mark.parametrize("index", [0, 63, 64, 69])
def test_pixels_of_every_shard(folder: Path, index: int) -> None:
    dataset = PreparedRadiographs.open(folder)
    shard, row = shard_folder(folder, index // 64), index % 64
    for size in (32, 64):
        assert np.array_equal(dataset.image(index, size), np.load(array_path(shard, "image", size))[row])
        assert np.array_equal(dataset.mask(index, size), np.load(array_path(shard, "mask", size))[row])
    assert dataset.mask(index, 64).any() == dataset.positive[index]


def test_other_sizes_come_from_the_next_larger(folder: Path) -> None:
    dataset = PreparedRadiographs.open(folder)
    assert np.array_equal(dataset.image(3, 48), resize_image(dataset.image(3, 64), 48))
    assert np.array_equal(dataset.mask(3, 16), resize_mask(dataset.mask(3, 32), 16))
    with pytest.raises(ValueError, match=r"size 96 is larger than the prepared 64: add it to data\.sizes"):
        dataset.image(3, 96)


def test_travels_to_other_processes_and_keeps_no_file_open(folder: Path) -> None:
    dataset = PreparedRadiographs.open(folder)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    wanted = dataset.image(69, 32)
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).image(69, 32), wanted)
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= before


def test_damaged_sets_name_the_remedy(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_plainly(RadiographData(sources=(write_pictures(tmp_path / "source", 6),), prepared=str(out), sizes=(32,), folds=2))
    dataset, path = PreparedRadiographs.open(out), array_path(shard_folder(out, 0), "image", 32)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"image-32\.npy: cut short: prepare it"):
        dataset.image(5, 32)
    path.unlink()
    with pytest.raises(ValueError, match=r"image-32\.npy: No such file or directory: prepare it"):
        dataset.image(0, 32)
