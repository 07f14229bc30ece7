"""A volume's shard holds its grey values, mask and foreground at every spacing, and its mask as it was drawn."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.resample import resample_image, resample_mask
from chestseg.arrays.volume import Volume
from chestseg.arrays.window import to_grey
from chestseg.config import VolumeData
from chestseg.data.prepared import array_path, shard_folder
from chestseg.data.prepared_volumes import FOREGROUND, truth_path
from chestseg.data.readers import list_cases
from chestseg.data.shards import Shard, is_finished, plan_shards, read_shard, write_shard
from chestseg.nifti import write_nifti
from tests.data.noisy_volumes import SHAPE, SPACING, SPACINGS, a_mask, a_volume, write_volumes

FINE, COARSE = SPACINGS


def data(folder: Path, **settings: object) -> VolumeData:
    return VolumeData.model_validate(
        {"sources": [{"reader": "nifti_folder", "path": str(folder)}], "prepared": "y", "spacings": SPACINGS, **settings}
    )


def shards(folder: Path, **settings: object) -> list[Shard]:
    told = data(folder, **settings)
    return plan_shards(list_cases(told.sources).cases, told)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(write_volumes(tmp_path / "source", 3).path)


def test_a_case_is_a_shard(source: Path) -> None:
    assert [[case.case_id for case in shard.cases] for shard in shards(source)] == [["case-000"], ["case-001"], ["case-002"]]


def test_arrays_and_row_agree_with_the_file(source: Path, tmp_path: Path) -> None:
    shard = shards(source)[0]
    write_shard(shard, tmp_path)
    (row,) = read_shard(shard, tmp_path).table.to_pylist()
    assert (row["depth"], row["height"], row["width"]) == SHAPE
    assert (row["spacing_slice"], row["spacing_row"], row["spacing_col"]) == SPACING
    assert row["positive"] and row["mask_area"] == 240 and row["modality"] == "CT" and row["patient_id"] == "case-000"
    folder, grid = shard_folder(tmp_path, 0), Grid.upright(SHAPE, SPACING)
    grey, mask = to_grey(a_volume(0, grid).values, (-1000, 400)), a_mask(grid, True).values
    for spacing, shape in ((FINE, SHAPE), (COARSE, (6, 10, 12))):
        image, prepared, foreground = (np.load(array_path(folder, kind, spacing)) for kind in ("image", "mask", "foreground"))
        assert image.dtype == prepared.dtype == np.uint8 and foreground.dtype == np.int32
        assert np.array_equal(image, resample_image(grey, shape)) and np.array_equal(prepared, resample_mask(mask, shape))
        assert np.array_equal(foreground, np.argwhere(prepared))
    assert array_path(folder, "image", FINE).name == "image-5x1.5x1.5.npy"


def test_every_orientation_gives_the_same_arrays(tmp_path: Path) -> None:
    grid = Grid.upright(SHAPE, SPACING)
    turned = Grid((24, 6, 20), grid.affine[:, [2, 0, 1, 3]] @ np.array([[1, 0, 0, 0], [0, -1, 0, 5], [0, 0, -1, 19], [0, 0, 0, 1]]))
    for name, used in (("upright", grid), ("turned", turned)):
        for kind, volume in (("images", a_volume(0, grid)), ("masks", a_mask(grid, True))):
            values = used.reorientation().undo(volume.values) if used is turned else volume.values
            write_nifti(tmp_path / name / kind / "one.nii.gz", Volume(np.ascontiguousarray(values), used))
        write_shard(shards(tmp_path / name)[0], tmp_path / name)
    upright, turned_round = (shard_folder(tmp_path / name, 0) for name in ("upright", "turned"))
    for path in upright.glob("*.np?"):
        assert path.read_bytes() == (turned_round / path.name).read_bytes()
    rows = [read_shard(shards(tmp_path / name)[0], tmp_path / name).table.drop(["source", "image"]) for name in ("upright", "turned")]
    assert rows[0] == rows[1]


def test_foreground_of_a_large_mask_is_a_spread_part(tmp_path: Path) -> None:
    grid = Grid.upright((10, 60, 60), (1, 1, 1))
    mask = np.zeros(grid.shape, np.uint8)
    mask[:, 5:55] = 1
    write_nifti(tmp_path / "images" / "one.nii.gz", a_volume(1, grid))
    write_nifti(tmp_path / "masks" / "one.nii.gz", Volume(mask, grid))
    write_shard(shards(tmp_path, spacings=[(1, 1, 1)])[0], tmp_path)
    positions = np.load(array_path(shard_folder(tmp_path, 0), "foreground", (1, 1, 1)))
    assert positions.shape == (FOREGROUND, 3) and len(np.unique(positions, axis=0)) == FOREGROUND
    assert mask[tuple(positions.T)].all()
    per_slice = np.bincount(positions[:, 0])
    assert per_slice.min() == per_slice.max() == 1000 and np.bincount(positions[:, 2]).min() > 100


def test_same_scan_has_the_same_hash_in_another_number_type(tmp_path: Path) -> None:
    hashes = []
    for name, dtype, scale in (("whole", np.int16, 1.0), ("float", np.float32, 1.0), ("other spacing", np.int16, 1.01)):
        grid = Grid.upright(SHAPE, (5.0, 1.5 * scale, 1.5))
        write_nifti(tmp_path / name / "images" / "one.nii.gz", Volume(a_volume(0, grid).values.astype(dtype), grid))
        write_nifti(tmp_path / name / "masks" / "one.nii.gz", a_mask(grid, False))
        shard = shards(tmp_path / name)[0]
        write_shard(shard, tmp_path / name)
        hashes.append(read_shard(shard, tmp_path / name).table["pixel_hash"].to_pylist())
    assert hashes[0] == hashes[1] != hashes[2]


def test_equal_work_gives_equal_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(shards(source)[0], tmp_path / name)
    first, second = (shard_folder(tmp_path / name, 0) for name in ("a", "b"))
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())
    assert all(path.read_bytes() == (second / path.name).read_bytes() for path in first.iterdir())
    with zipfile.ZipFile(truth_path(first)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_broken_file_leaves_an_empty_finished_shard(source: Path, tmp_path: Path) -> None:
    path = source / "images" / "case-000.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    shard = shards(source)[0]
    write_shard(shard, tmp_path)
    table, quarantine, _ = read_shard(shard, tmp_path)
    assert len(table) == 0 and [case.case_id for case in quarantine] == ["case-000"] and is_finished(shard, tmp_path)
    assert sorted(path.name for path in shard_folder(tmp_path, 0).iterdir()) == ["done.json", "rows.parquet"]


def test_finished_means_these_files_with_these_settings(source: Path, tmp_path: Path) -> None:
    shard = shards(source)[0]
    assert not is_finished(shard, tmp_path)
    write_shard(shard, tmp_path)
    assert is_finished(shard, tmp_path) and is_finished(shards(source, seed=4, folds=3)[0], tmp_path)
    assert not is_finished(shards(source, spacings=[FINE])[0], tmp_path)
    assert not is_finished(shards(source, window=(-1350, 150))[0], tmp_path)
    assert not is_finished(shards(source, series="repair")[0], tmp_path)
    os.utime(source / "masks" / "case-000.nii.gz", ns=(1, 1))
    assert not is_finished(shards(source)[0], tmp_path)


@pytest.mark.parametrize("kind", ["image", "mask", "foreground", "truth"])
@pytest.mark.parametrize("damage", ["short", "empty", "gone"])
def test_damaged_arrays_are_not_finished(source: Path, tmp_path: Path, kind: str, damage: str) -> None:
    shard = shards(source)[0]
    write_shard(shard, tmp_path)
    folder = shard_folder(tmp_path, 0)
    path = truth_path(folder) if kind == "truth" else array_path(folder, kind, COARSE)
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1 if damage == "short" else 0)
    assert not is_finished(shard, tmp_path)


def test_what_was_converted_is_noted(tmp_path: Path) -> None:
    grid = Grid.upright(SHAPE, SPACING)
    grey = Volume(np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.int16), grid)
    write_nifti(tmp_path / "images" / "one.nii.gz", grey)
    write_nifti(tmp_path / "masks" / "one.nii.gz", a_mask(grid, True))
    shard = shards(tmp_path, sources=[{"reader": "nifti_folder", "path": str(tmp_path), "window": (0, 255), "name": "greys"}])[0]
    write_shard(shard, tmp_path)
    (note,) = read_shard(shard, tmp_path).notes
    assert note.source == "greys" and note.case_id == "one" and "taken as -1000 to 400 HU" in note.note
    assert np.array_equal(np.load(array_path(shard_folder(tmp_path, 0), "image", FINE)), grey.values)


def test_real_volumes(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "Dataset102_MedSegCovid"
    told = VolumeData.model_validate(
        {"sources": [{"reader": "nnunet", "path": str(folder)}], "prepared": "y", "spacings": [(6, 3, 3)], "window": (-1350, 150)}
    )
    shard = plan_shards(list_cases(told.sources).cases, told)[0]
    write_shard(shard, tmp_path)
    table, quarantine, _ = read_shard(shard, tmp_path)
    assert not quarantine and table["positive"].to_pylist() == [True] and table["height"].to_pylist() == [315]
    image = np.load(array_path(shard_folder(tmp_path, 0), "image", (6, 3, 3)))
    assert 40 < image.mean() < 200
