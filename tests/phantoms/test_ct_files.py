"""Phantoms as a CT series and as NIfTI: what is written is what was made, and what is read."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Source
from chestseg.data.nifti_folder import list_nifti_folder
from chestseg.dicom.series import list_series, read_series
from chestseg.nifti import read_nifti, read_nifti_labels
from chestseg.phantoms.ct.files import ct_uids, write_ct_nifti, write_ct_series

SHAPE, SPACING = (8, 40, 40), (9.0, 8.0, 8.0)


def test_a_series_reads_to_the_phantom(tmp_path: Path):
    phantom = write_ct_series(tmp_path / "series", 4, SHAPE, SPACING)
    (found,) = list_series(tmp_path / "series")
    series = read_series(found)
    assert np.array_equal(series.volume.values, phantom.volume.values)
    assert series.volume.grid.matches(phantom.volume.grid, 1e-3)
    assert (series.study_uid, series.series_uid) == ct_uids(4, "axial")
    assert series.patient_id == "phantom-4"
    assert series.sex in ("F", "M")
    assert len(series.age) == 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "nifti"
    write_ct_nifti(folder, 5, 1, SHAPE, SPACING, 0.6)
    return folder


def test_images_and_masks_lie_on_one_grid(folder: Path):
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == [f"phantom_{i:04d}.nii.gz" for i in range(5)]
    masks = [read_nifti_labels(folder / "masks" / name) for name in names]
    images = [read_nifti(folder / "images" / name) for name in names]
    assert all(image.grid.matches(mask.grid, 1e-3) for image, mask in zip(images, masks, strict=True))
    assert sum(mask.values.any() for mask in masks) == 3
    assert all(image.values.dtype == np.int16 for image in images)


def test_the_reader_finds_every_phantom(folder: Path):
    listing = list_nifti_folder(Source(reader="nifti_folder", path=str(folder)))
    assert len(listing.cases) == 5
    assert not listing.left_out


def test_writing_again_gives_the_same_bytes_and_tells_how_far_it_is(folder: Path, tmp_path: Path):
    seen = []
    write_ct_nifti(tmp_path / "again", 2, 1, SHAPE, SPACING, 0.6, progress=lambda done, of: seen.append((done, of)))
    for path in (tmp_path / "again").rglob("*.nii.gz"):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "again")).read_bytes()
    assert seen == [(1, 2), (2, 2)]


def test_a_data_set_is_replaced_and_nothing_else(tmp_path: Path):
    target = tmp_path / "set"
    write_ct_nifti(target, 2, 1, SHAPE, SPACING)
    write_ct_nifti(target, 1, 2, SHAPE, SPACING)
    assert len(list((target / "images").iterdir())) == 1
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="notes.txt.*name another folder"):
        write_ct_nifti(target, 1, 2, SHAPE, SPACING)
    assert (target / "notes.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1, SHAPE, SPACING), "count 0"), ((1, 1, (1, 2, 3), SPACING), "shape"), ((1, 1, SHAPE, SPACING, 1.5), "positive_share 1.5")],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        write_ct_nifti(tmp_path / "set", *arguments)
    assert not (tmp_path / "set").exists()
