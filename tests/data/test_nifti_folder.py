"""A folder of NIfTI volumes and one of masks."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Source
from chestseg.data.nifti_folder import OTHER_FILE, list_nifti_folder
from chestseg.data.pairs import NO_IMAGE, UNLABELLED
from tests.data.volumes import HU, MASK, volume_data, write_volume


def listed(folder: Path, **settings: object):
    return list_nifti_folder(Source(reader="nifti_folder", path=str(folder), **settings))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.nii.gz", "b.nii", "c.nii.gz"):
        write_volume(tmp_path / "images" / name, HU)
    for name in ("a.nii", "b.nii.gz", "d.nii"):
        write_volume(tmp_path / "masks" / name, MASK)
    return tmp_path


def test_images_and_masks_are_joined_by_stem_and_the_rest_left_out(folder):
    (folder / "images" / "notes.txt").touch()
    listing = listed(folder)
    assert [(case.case_id, case.patient_id, case.negative) for case in listing.cases] == [("a", "a", False), ("b", "b", False)]
    assert {(one.case_id, one.reason) for one in listing.left_out} == {("notes.txt", OTHER_FILE), ("d", NO_IMAGE), ("c", UNLABELLED)}
    case = listing.cases[0].read(volume_data())
    assert np.array_equal(case.volume.values, HU)
    assert np.array_equal(case.mask, MASK)


def test_a_missing_mask_is_a_negative_only_where_the_source_says_so(folder):
    listing = listed(folder, without_mask="negative")
    assert [(case.case_id, case.negative) for case in listing.cases] == [("a", False), ("b", False), ("c", True)]
    assert not listing.cases[2].read(volume_data()).mask.any()


def test_no_masks_at_all(folder):
    assert [case.negative for case in listed(folder, masks=None, without_mask="negative").cases] == [True] * 3
    with pytest.raises(ValueError, match="no image has a mask: set the source's `masks`, or `without_mask: negative`"):
        listed(folder, masks=None)


def test_masks_are_0_and_1_unless_the_source_says_which_numbers_count(folder):
    write_volume(folder / "masks" / "a.nii", MASK * 7)
    with pytest.raises(ValueError, match=r"a\.nii: label 7 is none of 0, 1: correct the mask, or say in `labels` what counts"):
        listed(folder).cases[0].read(volume_data())
    assert np.array_equal(listed(folder, labels=[7]).cases[0].read(volume_data()).mask, MASK)
    with pytest.raises(ValueError, match=r"`labels` \['lesion'\]: plain masks have no names; give numbers"):
        listed(folder, labels=["lesion"])


def test_the_sources_window_goes_with_every_case(folder):
    assert {case.window for case in listed(folder, window=(0, 255)).cases} == {(0.0, 255.0)}


def test_missing_pieces_are_named(folder):
    with pytest.raises(ValueError, match="pictures: no such folder"):
        listed(folder, images="pictures")
    write_volume(folder / "others" / "x.nii", MASK)
    with pytest.raises(ValueError, match="others: no mask is called like an image"):
        listed(folder, masks="others")
