"""A small volume in which no two voxels are alike, and the orientations it is written in."""

import itertools

import numpy as np
from pydicom import dcmread
from scipy.spatial.transform import Rotation

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume

IDS = {"patient_id": "P1", "study_uid": "1.2.3", "series_uid": "1.2.3.4"}


def axis_aligned() -> list[np.ndarray]:
    """All 48 ways to lay slices, rows and columns along the patient's axes: columns are directions."""
    return [
        np.eye(3)[:, list(order)] * signs for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
    ]


def oblique() -> list[np.ndarray]:
    """An axial stack and a sagittal one, turned about all three axes."""
    turned = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()
    return [turned @ np.eye(3)[:, [2, 1, 0]], turned.T @ np.eye(3)[:, [0, 2, 1]]]


def phantom(directions: np.ndarray | None = None, shape: tuple[int, int, int] = (7, 10, 12), spacing=(2.5, 0.7, 0.8)) -> Volume:
    """HU from -1000 up, rising with every index, on a grid with these directions; axial when None."""
    values = (np.arange(np.prod(shape)).reshape(shape) % 1500 - 1000).astype(np.int16)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[:, [2, 1, 0]] if directions is None else directions) * spacing
    affine[:3, 3] = (-101.5, 33.25, -7.125)
    return Volume(values, Grid(shape, affine))


def smooth(shape: tuple[int, int, int] = (24, 40, 40), spacing=(2.0, 1.0, 1.0)) -> Volume:
    """An asymmetric blob of tissue in air, smooth enough that linear interpolation is nearly right."""
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    blob = np.exp(-(((z - 22) / 9) ** 2 + ((y - 17) / 6) ** 2 + ((x - 23 + 0.2 * z) / 8) ** 2))
    return Volume((blob * 1000 - 1000).astype(np.int16), Grid.upright(shape, spacing, (-20.0, -30.0, -500.0)))


def edit(path, **attributes) -> None:
    """Change attributes of a file; None takes one out."""
    dataset = dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        elif keyword.startswith("PixelPadding"):
            dataset.add_new(keyword, "SS" if value < 0 else "US", value)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def assert_same(volume: Volume, other: Volume) -> None:
    """Equal values at equal places in the patient, in whatever order of axes."""
    volume, other = volume.canonical(), other.canonical()
    assert np.array_equal(volume.values, other.values)
    assert volume.grid.matches(other.grid, 1e-9)
