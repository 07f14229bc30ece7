"""A folder of images and one of masks."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Source
from chestseg.data.image_folder import OTHER_FILE, list_image_folder
from chestseg.data.pairs import NO_IMAGE, UNLABELLED
from chestseg.dicom.write import write_radiograph
from tests.data.pictures import write_picture

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
MASK = np.where(PIXELS > 40, 255, 0).astype(np.uint8)


def listed(folder: Path, **settings: object):
    return list_image_folder(Source(reader="image_folder", path=str(folder), **settings))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        write_picture(tmp_path / "images", name, PIXELS)
    for name in "abd":
        write_picture(tmp_path / "masks", name, MASK)
    return tmp_path


def test_images_and_masks_are_joined_by_stem_and_the_rest_left_out(folder):
    (folder / "images" / "notes.txt").touch()
    listing = listed(folder)
    assert [(case.case_id, case.negative, case.sop_uid) for case in listing.cases] == [("a", False, None), ("b", False, None)]
    found = {(one.case_id, one.reason) for one in listing.left_out}
    assert found == {("notes.txt", OTHER_FILE), ("d", NO_IMAGE), ("c", UNLABELLED)}
    case = listing.cases[0].read()
    assert np.array_equal(case.pixels, PIXELS)
    assert np.array_equal(case.mask, MASK // 255)


def test_a_missing_mask_is_a_negative_only_where_the_source_says_so(folder):
    listing = listed(folder, without_mask="negative")
    assert [(case.case_id, case.negative) for case in listing.cases] == [("a", False), ("b", False), ("c", True)]
    assert [one.reason for one in listing.left_out] == [NO_IMAGE]
    assert not listing.cases[2].read().mask.any()


def test_no_masks_at_all(folder):
    listing = listed(folder, masks=None, without_mask="negative")
    assert [case.negative for case in listing.cases] == [True] * 3
    with pytest.raises(ValueError, match="no image has a mask: set the source's `masks`, or `without_mask: negative`"):
        listed(folder, masks=None)


def test_dicom_images_and_dicom_masks(tmp_path):
    for folder, pixels in (("images", PIXELS), ("labels", MASK)):
        uids = {"study_uid": "1.2.4", "series_uid": "1.2.5", "sop_uid": "1.2.6"}
        write_radiograph(tmp_path / folder / "deep" / "a.dcm", pixels, patient_id="p", **uids)
    case = listed(tmp_path, masks="labels").cases[0].read()
    assert case.radiograph.patient_id == "p"
    assert np.array_equal(case.mask, MASK // 255)


def test_missing_pieces_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="pictures: no such folder"):
        listed(folder, images="pictures")
    with pytest.raises(ValueError, match="labels: no such folder"):
        listed(folder, masks="labels")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no DICOM, PNG or JPEG file in it"):
        listed(folder, images="empty")
    with pytest.raises(ValueError, match="empty: no mask is called like an image"):
        listed(folder, masks="empty", without_mask="negative")


def test_the_real_folders(real_data):
    pneumothorax = listed(real_data / "pneumothorax_png")
    assert (len(pneumothorax.cases), pneumothorax.left_out) == (30, [])
    assert all(source.read().mask.any() for source in pneumothorax.cases[::6])
    others = listed(real_data / "covid_cxr_png", masks=None, without_mask="negative")
    assert len(others.cases) == 75
    case = others.cases[0].read()
    assert max(case.pixels.shape) == 512
    assert case.mask.shape == case.pixels.shape
    assert not case.mask.any()
