"""Prepared volumes come back as they were written, at every spacing, in any process."""

import gc
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.window import to_grey
from chestseg.config import VolumeData
from chestseg.data.prepared import array_path, shard_folder
from chestseg.data.prepared_volumes import PreparedVolumes, truth_path
from tests.data.noisy_volumes import SHAPE, SPACING, SPACINGS, a_mask, a_volume, write_volumes
from tests.data.pictures import prepare_plainly

FINE, COARSE = SPACINGS
GRID = Grid.upright(SHAPE, SPACING)


def told(root: Path) -> VolumeData:
    return VolumeData(sources=(write_volumes(root / "source", 7),), prepared=str(root / "out"), spacings=SPACINGS, folds=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    prepare_plainly(told(root))
    return root / "out"


def test_says_what_was_prepared(folder: Path) -> None:
    dataset = PreparedVolumes.open(folder)
    assert dataset.spacings == SPACINGS and dataset.window == (-1000, 400)
    assert dataset.case_ids == [f"case-{i:03d}" for i in range(7)] and dataset.positive.tolist() == [i % 3 == 0 for i in range(7)]


@pytest.mark.parametrize("index", [0, 4, 6])
def test_voxels_of_every_shard(folder: Path, index: int) -> None:
    dataset = PreparedVolumes.open(folder)
    assert np.array_equal(dataset.image(index, FINE), to_grey(a_volume(index, GRID).values, (-1000, 400)))
    assert np.array_equal(dataset.mask(index, FINE), a_mask(GRID, index % 3 == 0).values)
    assert dataset.shape(index, FINE) == SHAPE
    assert dataset.shape(index, COARSE) == dataset.mask(index, COARSE).shape == (6, 10, 12)
    for spacing in SPACINGS:
        assert np.array_equal(dataset.foreground(index, spacing), np.argwhere(dataset.mask(index, spacing)))
        assert dataset.foreground(index, spacing).dtype == np.int32


def test_truth_is_the_mask_as_it_was_drawn(folder: Path) -> None:
    dataset = PreparedVolumes.open(folder)
    for index in (0, 1):
        mask, spacing = dataset.truth(index)
        assert mask.dtype == np.uint8 and np.array_equal(mask, a_mask(GRID, index == 0).values) and spacing == SPACING


def test_voxels_are_mapped_and_cannot_be_changed(folder: Path) -> None:
    image = PreparedVolumes.open(folder).image(0, FINE)
    assert isinstance(image, np.memmap) and image.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_keeps_no_file_open(folder: Path) -> None:
    dataset = PreparedVolumes.open(folder)
    before = len(os.listdir("/proc/self/fd"))
    for index in range(7):
        dataset.image(index, FINE), dataset.mask(index, COARSE), dataset.foreground(index, FINE), dataset.truth(index)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_travels_to_other_processes(folder: Path) -> None:
    dataset = PreparedVolumes.open(folder)
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).image(6, COARSE), dataset.image(6, COARSE))


def test_a_spacing_that_was_not_prepared_is_refused(folder: Path) -> None:
    dataset = PreparedVolumes.open(folder)
    with pytest.raises(ValueError, match=r"no spacing \[1, 1, 1\], only \[5\.0, 1\.5, 1\.5\], .*: add it to data\.spacings"):
        dataset.image(0, (1, 1, 1))


def test_an_experiment_that_was_not_prepared_for_is_refused(folder: Path) -> None:
    dataset, data = PreparedVolumes.open(folder), told(folder.parent)
    dataset.require_split(data)
    with pytest.raises(ValueError, match=r"was prepared with data\.window \(-1000.0, 400.0\), now it is \(-1350.0, 150.0\): prepare it"):
        dataset.require_split(data.model_copy(update={"window": (-1350.0, 150.0)}))
    with pytest.raises(ValueError, match=r"has no spacing \[1\.0, 1\.0, 1\.0\]"):
        dataset.require_split(data.model_copy(update={"spacings": (FINE, (1.0, 1.0, 1.0))}))
    with pytest.raises(ValueError, match=r"was prepared with data\.seed 0, now it is 4"):
        dataset.require_split(data.model_copy(update={"seed": 4}))


def test_damaged_sets_name_the_remedy(tmp_path: Path) -> None:
    prepare_plainly(told(tmp_path))
    dataset, shard = PreparedVolumes.open(tmp_path / "out"), shard_folder(tmp_path / "out", 0)
    for kind, read in (("image", dataset.image), ("mask", dataset.mask), ("foreground", dataset.foreground)):
        path = array_path(shard, kind, FINE)
        for length in (path.stat().st_size - 1, 0):
            os.truncate(path, length)
            with pytest.raises(ValueError, match=rf"{kind}-5x1\.5x1\.5\.npy: damaged: prepare it"):
                read(0, FINE)
        path.unlink()
        with pytest.raises(ValueError, match=rf"{kind}-5x1\.5x1\.5\.npy: No such file or directory: prepare it"):
            read(0, FINE)
    for length in (truth_path(shard).stat().st_size - 1, 0):
        os.truncate(truth_path(shard), length)
        with pytest.raises(ValueError, match=r"truth\.npz: damaged: prepare it"):
            dataset.truth(0)
