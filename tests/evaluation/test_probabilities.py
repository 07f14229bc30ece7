"""Cached probabilities as they are read: whole, of one network, each case once."""

import json
from pathlib import Path

import numpy as np
import pytest

from chestseg.evaluation.levels import levels, truth
from chestseg.evaluation.probabilities import MARKER, ProbabilityCache, cases_of, shard_path
from tests.evaluation.caches import Made, of_volumes, origin, random_case, write_made

COUNT = 70
"""More than a shard."""


@pytest.fixture(scope="module")
def cases() -> list[Made]:
    return [random_case(seed, head=True, spaced=0.5) for seed in range(COUNT)]


@pytest.fixture
def cache(tmp_path: Path, cases: list[Made]) -> ProbabilityCache:
    return write_made(tmp_path / "cache", cases, origin(COUNT))


def test_what_was_written_is_read(cache: ProbabilityCache, cases: list[Made]) -> None:
    found = list(ProbabilityCache.open(cache.folder))
    assert len(found) == len(cache) == COUNT and len(list(cache.folder.glob("*.npz"))) == 2
    for made, case in zip(cases, found, strict=True):
        assert (case.case_id, case.disease, case.shown_mm2) == (made.case_id, made.disease, made.shown_mm2)
        np.testing.assert_array_equal(truth(case.packed), made.truth)
        np.testing.assert_array_equal(levels(case.packed) >= 30, made.probabilities >= 0.3)


def test_volumes_have_a_shard_each_and_their_own_shapes(tmp_path: Path) -> None:
    made = [random_case(seed, (6 + seed, 8, 9)) for seed in range(3)]
    cache = write_made(tmp_path, made, of_volumes(3))
    assert [case.packed.shape for case in ProbabilityCache.open(cache.folder)] == [(6, 8, 9), (7, 8, 9), (8, 8, 9)]


def test_equal_caches_are_equal_bytes(cache: ProbabilityCache, tmp_path: Path, cases: list[Made]) -> None:
    again = write_made(tmp_path / "again", cases, cache.origin)
    assert [shard_path(c.folder, 1).read_bytes() for c in (cache, again)] == [shard_path(cache.folder, 1).read_bytes()] * 2


def test_no_marker_no_cache(cache: ProbabilityCache) -> None:
    (cache.folder / MARKER).unlink()
    with pytest.raises(ValueError, match="no cached probabilities, or their writing did not end: write them again"):
        ProbabilityCache.open(cache.folder)


def test_of_another_version(cache: ProbabilityCache) -> None:
    facts = json.loads((cache.folder / MARKER).read_text()) | {"format": 9}
    (cache.folder / MARKER).write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"cache\.json: format 9, this version reads 1"):
        ProbabilityCache.open(cache.folder)


def test_a_shard_that_is_cut_short_damaged_missing_or_of_another_cache(cache: ProbabilityCache, tmp_path: Path, cases: list[Made]) -> None:
    path = shard_path(cache.folder, 1)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], bytes(flipped), b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"00001\.npz: missing or damaged .*: write the probabilities again"):
            list(cache)
    path.unlink()
    with pytest.raises(ValueError, match=r"00001\.npz: missing or damaged"):
        list(cache)
    other = write_made(tmp_path / "other", cases, origin(COUNT, fold=1))
    path.write_bytes(shard_path(other.folder, 1).read_bytes())
    with pytest.raises(ValueError, match=r"00001\.npz: not what cache\.json beside it tells of"):
        list(cache)


def test_a_case_of_two_caches_is_refused(cache: ProbabilityCache, tmp_path: Path, cases: list[Made]) -> None:
    other = write_made(tmp_path / "other", cases[5:6], origin(1, fold=1))
    with pytest.raises(ValueError, match="case case-5 is in .*cache and in .*other: give each case once"):
        list(cases_of([cache, other]))
