"""Two passes of planar interpolation give what one trilinear one gives, and a margin is all they need."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from chestseg.data.deformation import Deformation, affine

PATCH = (12, 40, 48)
STRAIGHT = np.zeros((2, 3, 1, 1), np.float32)


def bent(seed: int) -> np.ndarray:
    largest = np.array([0.5, 2, 2], np.float32).reshape(3, 1, 1)
    return (np.random.default_rng(seed).uniform(-1, 1, (2, 3, 4, 4)) * largest).astype(np.float32)


def scene(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def source_of(deformation: Deformation) -> tuple[int, ...]:
    return tuple(length + 2 * more for length, more in zip(PATCH, deformation.margin(PATCH), strict=True))


def places(deformation: Deformation) -> np.ndarray:
    """What `Deformation` promises, written down directly: source coordinates of every voxel of a straight patch."""
    centred = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in PATCH), indexing="ij")
    centre = (np.array(source_of(deformation)) - 1) / 2
    return np.tensordot(deformation.matrix, centred, 1) + centre[:, None, None, None]


@pytest.mark.parametrize("turns", [(0.35, 0.0, 0.0), (0.0, 0.17, 0.0), (0.0, 0.0, -0.17), (-0.5, 0.2, 0.15)])
@pytest.mark.parametrize("zoom", [0.8, 1.0, 1.25])
def test_two_passes_are_one_trilinear_interpolation(turns: tuple[float, float, float], zoom: float) -> None:
    deformation = Deformation(affine(turns, zoom, (1.5, 0.9, 0.9)), STRAIGHT)
    source = scene(source_of(deformation))
    found = deformation.apply([source], PATCH)[0].astype(float)
    expected = map_coordinates(source.astype(float), places(deformation), order=1, mode="nearest")
    assert np.abs(found - expected).max() < 3 and np.abs(found - expected).mean() < 0.6


@pytest.mark.parametrize("seed", range(5))
def test_margin_is_enough_and_not_wasteful(seed: int) -> None:
    random = np.random.default_rng(seed)
    deformation = Deformation(affine(tuple(random.uniform(-0.3, 0.3, 3)), random.uniform(0.8, 1.2), (2.0, 1.0, 1.0)), STRAIGHT)
    reached = places(deformation)
    for axis, length in enumerate(source_of(deformation)):
        assert reached[axis].min() >= 0 and reached[axis].max() <= length - 1
        if deformation.margin(PATCH)[axis]:
            assert reached[axis].min() < 1 and reached[axis].max() > length - 2


@pytest.mark.parametrize("seed", range(5))
def test_margin_covers_bending(seed: int) -> None:
    deformation = Deformation(np.eye(3), bent(seed))
    source = scene(source_of(deformation), seed)
    wider = np.pad(source, [(0, 0), (5, 5), (5, 5)])
    np.testing.assert_array_equal(deformation.apply([wider], PATCH)[0], deformation.apply([source], PATCH)[0])


def test_nothing_to_do_changes_nothing() -> None:
    source = scene(PATCH)
    deformation = Deformation(affine((0, 0, 0), 1.0, (5.0, 1.0, 1.0)), STRAIGHT)
    assert deformation.margin(PATCH) == (0, 0, 0)
    np.testing.assert_array_equal(deformation.apply([source], PATCH)[0], source)


def test_rotation_is_in_millimetres() -> None:
    """A cuboid of 8 mm edges stays one when slices are four times as thick as pixels are wide."""
    matrix = affine((0.0, 0.3, 0.0), 1.0, (4.0, 1.0, 1.0))
    in_millimetres = np.diag([4.0, 1, 1]) @ matrix @ np.diag([1 / 4, 1, 1])
    np.testing.assert_allclose(in_millimetres @ in_millimetres.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_zoom_above_one_lets_things_grow() -> None:
    source = np.zeros((12, 40, 48), np.uint8)
    source[4:8, 14:26, 18:30] = 255
    grown = Deformation(affine((0, 0, 0), 1.25, (1.0, 1.0, 1.0)), STRAIGHT).apply([source], PATCH)[0]
    assert (grown > 127).sum() > 1.5 * (source > 127).sum()


def test_bending_neither_folds_nor_tears() -> None:
    """Of a ramp, neighbours stay in order: what lay to the left lies to the left."""
    deformation = Deformation(np.eye(3), bent(3))
    ramp = np.ascontiguousarray(np.broadcast_to(np.arange(source_of(deformation)[2], dtype=np.uint8) * 4, source_of(deformation)))
    steps = np.diff(deformation.apply([ramp], PATCH)[0].astype(int), axis=2)
    assert steps.min() >= 0 and 4 < steps.max() < 8


def test_sources_move_alike() -> None:
    deformation = Deformation(affine((0.3, 0.1, 0.0), 1.1, (2.0, 1.0, 1.0)), bent(1))
    source = scene(source_of(deformation))
    one, other = deformation.apply([source, 255 - source], PATCH)
    assert np.abs(one.astype(int) + other - 255).max() <= 2


def test_planes_wider_than_opencv_maps_reach() -> None:
    """Rows times columns beyond 32,767, where `cv2.remap` refuses."""
    patch = (3, 200, 200)
    deformation = Deformation(affine((0, 0, 0), 0.9, (1.0, 1.0, 1.0)), STRAIGHT)
    margin = deformation.margin(patch)
    shape = tuple(length + 2 * more for length, more in zip(patch, margin, strict=True))
    assert deformation.apply([np.full(shape, 7, np.uint8)], patch)[0].min() == 7
