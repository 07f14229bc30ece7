"""Reading a CT case: values as HU, mask and image on one grid, labels that are known."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.data.volume_cases import LabelFile, VolumeSource
from tests.data.volumes import GREY, GRID, HU, MASK, SHAPE, volume_data, write_volume


@pytest.fixture
def pair(tmp_path) -> Callable[..., VolumeSource]:
    """`pair(values, labels, grid, ...)` writes an image, and its mask on that grid."""

    def write(values: np.ndarray = HU, labels: np.ndarray = MASK * 3, grid: Grid = GRID, **changes: object) -> VolumeSource:
        mask = LabelFile(write_volume(tmp_path / "m.nii.gz", labels, grid), (3,), (0, 1, 2, 3))
        source = VolumeSource("a", "s", write_volume(tmp_path / "a.nii.gz", values), "p", mask)
        return dataclasses.replace(source, **changes)

    return write


def test_a_source_is_small_travels_and_is_plain_values(pair):
    source = pair()
    assert pickle.loads(pickle.dumps(source)) == source
    assert len(pickle.dumps(source)) < 700
    assert json.dumps(dataclasses.astuple(source))
    assert source.paths == (source.image, source.mask_path)


def test_labels_come_as_file_or_a_publishers_word(pair):
    assert pair().labelled
    assert not pair(mask=None).labelled
    assert pair(mask=None).mask_path is None
    assert pair(mask=None, negative=True).labelled


def test_hu_are_read_as_they_are(pair):
    case = pair().read(volume_data())
    assert case.volume.values.dtype == np.int16
    assert np.array_equal(case.volume.values, HU)
    assert case.volume.grid.matches(GRID, 1e-4)
    assert case.mask.dtype == np.uint8
    assert np.array_equal(case.mask, MASK)
    assert (case.patient_id, case.sex, case.age, case.modality, case.notes) == ("p", None, None, "CT", ())


def test_a_negative_has_an_empty_mask(pair):
    case = pair(mask=None, negative=True).read(volume_data())
    assert case.mask.shape == SHAPE
    assert not case.mask.any()


def test_grey_levels_of_a_window_become_the_prepared_windows_hu(pair):
    case = pair(GREY, window=(0.0, 255.0)).read(volume_data(window=(-1000, 400)))
    assert case.volume.values.dtype == np.float32
    np.testing.assert_allclose(case.volume.values, -1000 + GREY * (1400 / 255), atol=1e-3)
    assert case.notes == ("values 0 to 255 taken as -1000 to 400 HU",)


def test_values_beyond_the_window_are_refused(pair):
    with pytest.raises(
        ValueError, match=r"a\.nii\.gz: values from -1000 to 400 go beyond the source's `window` \[0.0, 255.0\]: correct it"
    ):
        pair(HU, window=(0.0, 255.0)).read(volume_data())


def test_grey_levels_of_known_hu_are_told_from_hu_by_their_values(pair):
    grey = pair(GREY, grey_hu=(-1250.0, 250.0)).read(volume_data())
    np.testing.assert_allclose(grey.volume.values, -1250 + GREY * (1500 / 255), atol=1e-3)
    assert grey.notes == ("values 0 to 255 taken as -1250 to 250 HU",)
    hu = pair(HU, grey_hu=(-1250.0, 250.0)).read(volume_data())
    assert np.array_equal(hu.volume.values, HU)
    assert hu.notes == ()


@pytest.mark.parametrize("values", [GREY, HU + 1024])
def test_values_that_cannot_be_hu_are_refused(pair, values):
    with pytest.raises(ValueError, match=r"are not HU, which for air are near -1000: give the source's `window`"):
        pair(values).read(volume_data())


def test_a_mask_of_another_size_is_refused(pair):
    with pytest.raises(ValueError, match=r"a\.nii\.gz: 3x4x5 voxels, and its mask .*m\.nii\.gz 3x4x6: use the image on which it was drawn"):
        pair(labels=np.zeros((3, 4, 6), np.uint8), grid=Grid.upright((3, 4, 6), GRID.spacing)).read(volume_data())


@pytest.mark.parametrize(("spacing", "origin"), [((5.0, 0.8, 0.8), (0, 0, 1)), ((4.0, 0.8, 0.8), (0, 0, 0))])
def test_a_mask_that_lies_elsewhere_is_refused(pair, spacing, origin):
    with pytest.raises(ValueError, match=r"a\.nii\.gz: its mask .*m\.nii\.gz has the same size and lies elsewhere: origin, spacing or"):
        pair(grid=Grid.upright(SHAPE, spacing, origin)).read(volume_data())


def test_a_mask_turned_round_is_refused(pair):
    turned = GRID.affine.copy()
    turned[:, 0] *= -1
    with pytest.raises(ValueError, match="lies elsewhere"):
        pair(grid=Grid(SHAPE, turned)).read(volume_data())


def test_rounded_headers_are_the_same_grid(pair):
    assert pair(grid=Grid.upright(SHAPE, (5.001, 0.8002, 0.8), (0.01, 0, 0))).read(volume_data()).mask.any()


def test_unknown_labels_are_refused(pair):
    labels = np.arange(60, dtype=np.uint8).reshape(SHAPE)
    with pytest.raises(
        ValueError, match=r"m\.nii\.gz: label 4, 5, 6, 7, \.\.\. is none of 0, 1, 2, 3: correct the mask, or say in `labels`"
    ):
        pair(labels=labels).read(volume_data())
    source = pair(labels=labels)
    anything = dataclasses.replace(source, mask=dataclasses.replace(source.mask, known=None, infiltrate=(7, 9)))
    assert np.flatnonzero(anything.read(volume_data()).mask).tolist() == [7, 9]


def test_unreadable_files_are_named(pair):
    source = pair()
    for path in map(Path, source.paths):
        whole = path.read_bytes()
        path.write_bytes(whole[:60])
        with pytest.raises(ValueError, match=f"{path}: "):
            source.read(volume_data())
        path.write_bytes(whole)
