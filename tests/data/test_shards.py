"""A shard holds what its files hold, or says why not, and knows when it is out of date."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.resize import resize_image
from chestseg.config import RadiographData, Source
from chestseg.data.cases import CaseSource
from chestseg.data.prepared import array_path, shard_folder
from chestseg.data.radiograph_shards import RadiographShards
from chestseg.data.readers import list_cases
from chestseg.data.shards import Shard, is_finished, plan_shards, read_shard, write_shard
from chestseg.data.volume_cases import VolumeSource
from tests.data.pictures import SIZES, write_pictures


def sized(cases: Sequence[CaseSource | VolumeSource], sizes: tuple[int, ...] = SIZES) -> list[Shard]:
    return plan_shards(cases, RadiographData(sources=(Source(reader="siim", path="x"),), prepared="y", sizes=sizes))


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return sized(list_cases([write_pictures(tmp_path / "source", 7)]).cases)[0]


def test_cases_are_cut_in_order_of_their_ids(tmp_path: Path) -> None:
    cases = list_cases([write_pictures(tmp_path, RadiographShards.cases + 3)]).cases
    shards = sized(cases[::-1])
    assert [len(shard.cases) for shard in shards] == [RadiographShards.cases, 3]
    assert [case.case_id for shard in shards for case in shard.cases] == sorted(case.case_id for case in cases)
    assert [shard.key for shard in shards] == [shard.key for shard in sized(cases)]


def test_arrays_and_rows_agree_with_the_files(shard: Shard, tmp_path: Path) -> None:
    write_shard(shard, tmp_path)
    table, quarantine, _ = read_shard(shard, tmp_path)
    assert not quarantine and table["case_id"].to_pylist() == [case.case_id for case in shard.cases]
    assert table["mask_area"].to_pylist() == [200, 0, 0, 200, 0, 0, 200]
    assert table["positive"].to_pylist() == [True, False, False] * 2 + [True]
    assert set(zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True)) == {(40, 48)}
    for size in SIZES:
        images, masks = (np.load(array_path(shard_folder(tmp_path, 0), kind, size)) for kind in ("image", "mask"))
        assert images.shape == masks.shape == (7, size, size) and images.dtype == masks.dtype == np.uint8
        assert np.array_equal(images[4], resize_image(shard.cases[4].read().pixels, size))
        assert np.unique(masks).tolist() == [0, 1] and masks.any(axis=(1, 2)).tolist() == table["positive"].to_pylist()


def test_broken_files_take_no_row(shard: Shard, tmp_path: Path) -> None:
    Path(shard.cases[2].image).write_bytes(Path(shard.cases[2].image).read_bytes()[:100])
    Path(shard.cases[5].image).unlink()
    write_shard(shard, tmp_path)
    table, quarantine, _ = read_shard(shard, tmp_path)
    assert [case.case_id for case in quarantine] == ["case-002", "case-005"]
    assert all(case.reason and case.path not in case.reason for case in quarantine)
    assert table["case_id"].to_pylist() == [f"case-00{i}" for i in (0, 1, 3, 4, 6)]
    images = np.load(array_path(shard_folder(tmp_path, 0), "image", 64))
    assert len(images) == 5 and np.array_equal(images[2], resize_image(shard.cases[3].read().pixels, 64))


def test_a_shard_of_broken_files_is_empty_but_finished(shard: Shard, tmp_path: Path) -> None:
    for case in shard.cases:
        Path(case.image).write_bytes(b"")
    write_shard(shard, tmp_path)
    table, quarantine, _ = read_shard(shard, tmp_path)
    assert len(table) == 0 and len(quarantine) == 7 and is_finished(shard, tmp_path)


def test_finished_means_these_files_at_these_sizes(shard: Shard, tmp_path: Path) -> None:
    assert not is_finished(shard, tmp_path)
    write_shard(shard, tmp_path)
    assert is_finished(shard, tmp_path)
    assert not is_finished(sized(shard.cases, (*SIZES, 96))[0], tmp_path)
    assert not is_finished(sized(shard.cases[:-1])[0], tmp_path)
    os.utime(shard.cases[3].image, ns=(1, 1))
    assert not is_finished(sized(shard.cases)[0], tmp_path)


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_damaged_arrays_are_not_finished(shard: Shard, tmp_path: Path, kind: str) -> None:
    write_shard(shard, tmp_path)
    path = array_path(shard_folder(tmp_path, 0), kind, 64)
    os.truncate(path, path.stat().st_size - 1)
    assert not is_finished(shard, tmp_path)
    path.unlink()
    assert not is_finished(shard, tmp_path)
