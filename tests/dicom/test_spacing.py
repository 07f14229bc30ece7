"""Which pixel spacings are believed."""

import pytest
from pydicom.dataset import Dataset

from chestseg.dicom.spacing import spacing_mm


def image(rows: int, columns: int, **attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.Rows, dataset.Columns = rows, columns
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_spacing_is_down_then_along():
    assert spacing_mm(image(2000, 1500, PixelSpacing=[0.2, 0.21])) == (0.2, 0.21)


@pytest.mark.parametrize("spacing", [0.139, 0.143, 0.168, 0.194311])
def test_siims_spacing_belongs_to_a_larger_image(spacing):
    assert spacing_mm(image(1024, 1024, PixelSpacing=[spacing, spacing])) is None


@pytest.mark.parametrize(("millimetres", "believed"), [(249, False), (251, True), (499, True), (501, False)])
def test_the_longer_side_is_between_25_and_50_cm(millimetres, believed):
    found = spacing_mm(image(1000, 800, PixelSpacing=[millimetres / 1000] * 2))
    assert (found is not None) is believed


def test_spacing_at_the_detector_needs_the_magnification():
    detector = {"ImagerPixelSpacing": [0.2, 0.2]}
    assert spacing_mm(image(2000, 2000, **detector)) is None
    assert spacing_mm(image(2000, 2000, **detector, EstimatedRadiographicMagnificationFactor=1.25)) == (0.16, 0.16)
    assert spacing_mm(image(2000, 2000, **detector, PixelSpacing=[0.19, 0.19])) == (0.19, 0.19)


@pytest.mark.parametrize("value", [None, 0.2, [0.2], [0.0, 0.0], [-0.2, 0.2]])
def test_what_is_no_pair_of_lengths_is_none(value):
    assert spacing_mm(image(2000, 2000, PixelSpacing=value)) is None
