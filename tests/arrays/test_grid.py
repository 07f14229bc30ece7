"""Grids: where voxels are, and that reordering axes leaves every voxel where it is in the patient."""

import itertools
import pickle

import numpy as np
import pytest

from chestseg.arrays.grid import Grid

SHAPE = (3, 4, 5)
SPACING = (5.0, 0.7, 0.8)
ORIENTATIONS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


def turn(angle: float, axis: tuple[float, float, float]) -> np.ndarray:
    """Rotation by `angle` degrees (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(np.radians(angle)) * cross + (1 - np.cos(np.radians(angle))) * cross @ cross


def oriented(axes: tuple[int, ...], signs: tuple[int, ...], turned: np.ndarray | None = None) -> Grid:
    """A grid whose i-th axis runs along the patient's coordinate `axes[i]`."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, axes] * signs * SPACING
    affine[:3, 3] = (-20.5, 31.25, -700)
    if turned is not None:
        affine[:3, :3] = turned @ affine[:3, :3]
    return Grid(SHAPE, affine)


def centres(grid: Grid) -> np.ndarray:
    """(slices, rows, columns, 3) positions in mm."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), [1], indexing="ij"), -1)[:, :, :, 0]
    return (indices @ grid.affine.T)[..., :3]


def check_canonical(grid: Grid) -> None:
    how, canonical = grid.reorientation(), grid.canonical()
    positions = centres(grid)
    moved = np.stack([how.apply(positions[..., i]) for i in range(3)], -1)
    np.testing.assert_allclose(moved, centres(canonical), atol=1e-9)
    assert canonical.reorientation() == ((0, 1, 2), (False, False, False))
    back = np.stack([how.undo(moved[..., i]) for i in range(3)], -1)
    assert (back == positions).all()
    assert canonical.voxel_ml == pytest.approx(grid.voxel_ml)
    assert sorted(canonical.spacing) == pytest.approx(sorted(grid.spacing))


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_all_orientations_become_canonical_and_return(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    grid = oriented(axes, signs)
    check_canonical(grid)
    directions = grid.canonical().affine[:3, :3]
    assert (directions[[2, 1, 0]] > 0).tolist() == np.eye(3, dtype=bool).tolist()


@pytest.mark.parametrize("turned", [turn(17, (1, 2, 3)), turn(-31, (3, -1, 1)), turn(45, (0, 0, 1)), turn(54.7356, (1, 1, 1))])
def test_oblique_grids_keep_their_axes(turned: np.ndarray) -> None:
    for axes, signs in ORIENTATIONS:
        check_canonical(oriented(axes, signs, turned))


def test_tilted_gantry_is_sheared_not_larger() -> None:
    upright = Grid.upright(SHAPE, SPACING)
    affine = upright.affine.copy()
    affine[1, 0] = SPACING[0] * np.tan(np.radians(20))
    tilted = Grid(SHAPE, affine)
    check_canonical(tilted)
    assert tilted.voxel_ml == pytest.approx(upright.voxel_ml) == pytest.approx(5 * 0.7 * 0.8 / 1000)
    assert tilted.spacing[0] == pytest.approx(5 / np.cos(np.radians(20)))


def test_upright_is_canonical() -> None:
    grid = Grid.upright(SHAPE, SPACING, (1, 2, 3))
    assert grid.spacing == SPACING
    assert grid.reorientation() == ((0, 1, 2), (False, False, False))
    assert (grid.affine @ (2, 1, 3, 1)).tolist() == pytest.approx([1 + 3 * 0.8, 2 + 0.7, 3 + 2 * 5, 1])


def test_matching_looks_at_the_farthest_voxel() -> None:
    grid = Grid.upright((100, 4, 5), SPACING)
    affine = grid.affine.copy()
    affine[2, 0] += 0.01
    longer = Grid((100, 4, 5), affine)
    assert grid.matches(longer, 1.0) and not grid.matches(longer, 0.98)
    assert not grid.matches(Grid.upright((99, 4, 5), SPACING), 1000)


def test_affine_is_a_copy_that_stays_and_travels() -> None:
    affine = np.eye(4)
    grid = Grid(SHAPE, affine)
    affine[0, 3] = 9
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 9
    assert pickle.loads(pickle.dumps(grid)).matches(grid, 0)
