"""Masks from files."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from chestseg.dicom.mask import read_mask

INSIDE = np.zeros((16, 16), np.uint8)
INSIDE[4:9, 3:12] = 1


def png(values: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format=form)
    return file.getvalue()


@pytest.mark.parametrize("values", [INSIDE, INSIDE * 255, INSIDE.astype(bool), np.stack([INSIDE * 255] * 3, axis=-1)])
def test_zero_and_one_or_255_are_a_mask(values):
    mask = read_mask(png(values))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, INSIDE)


def test_a_dicom_mask_counts_by_its_stored_values(dicom):
    assert np.array_equal(read_mask(dicom(INSIDE * 255)), INSIDE)
    assert np.array_equal(read_mask(dicom(INSIDE, PhotometricInterpretation="MONOCHROME1")), INSIDE)
    segmentation = read_mask(Path(get_testdata_file("liver_1frame.dcm")))
    assert (segmentation.shape, segmentation.max()) == ((512, 512), 1)


def test_an_empty_mask_is_one():
    assert not read_mask(png(np.zeros((4, 4), np.uint8))).any()


@pytest.mark.parametrize(
    ("values", "shown"), [(INSIDE * 7, "this one has 7:"), (INSIDE + INSIDE.cumsum(1, np.uint8), r"2, 3, 4, 5, \.\.\.")]
)
def test_other_values_are_refused(values, shown):
    with pytest.raises(ValueError, match=f"^m.png: a mask has 0 outside and 1 or 255 inside, .*{shown}"):
        read_mask(png(values), name="m.png")


def test_a_jpegs_values_are_not_two():
    with pytest.raises(ValueError, match="save it as a PNG of two values"):
        read_mask(png(INSIDE * 255, "JPEG"))
