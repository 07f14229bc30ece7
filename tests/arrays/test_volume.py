"""Volumes become canonical and return, voxel by voxel."""

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume, restore
from tests.arrays.test_grid import ORIENTATIONS, SHAPE, oriented, turn

PHANTOM = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


@pytest.mark.parametrize("turned", [None, turn(17, (1, 2, 3)), turn(-31, (3, -1, 1))])
def test_canonical_and_back_is_exact(turned: np.ndarray | None) -> None:
    for axes, signs in ORIENTATIONS:
        volume = Volume(PHANTOM, oriented(axes, signs, turned))
        canonical = volume.canonical()
        assert canonical.values.flags.c_contiguous
        restored = restore(canonical.values, volume.grid)
        assert restored.flags.c_contiguous and restored.dtype == np.int16
        assert (restored == PHANTOM).all()


def test_a_marked_voxel_stays_where_it_is_in_the_patient() -> None:
    for axes, signs in ORIENTATIONS:
        volume = Volume(PHANTOM, oriented(axes, signs))
        canonical = volume.canonical()
        for value in (7, 33):
            before = volume.grid.affine @ (*np.argwhere(volume.values == value)[0], 1)
            after = canonical.grid.affine @ (*np.argwhere(canonical.values == value)[0], 1)
            assert after.tolist() == pytest.approx(before.tolist())


def test_a_canonical_volume_is_not_copied() -> None:
    volume = Volume(PHANTOM, Grid.upright(SHAPE, (1, 1, 1)))
    assert np.shares_memory(volume.canonical().values, PHANTOM)


def test_values_lie_on_the_grid() -> None:
    with pytest.raises(AssertionError):
        Volume(PHANTOM, Grid.upright((3, 4, 6), (1, 1, 1)))
