"""Series as they are written: what other readers need, and the same bytes each time."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from chestseg.arrays.volume import Volume
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, oblique, phantom


def test_a_file_a_slice_with_the_attributes_of_a_ct_image(tmp_path):
    paths = write_series(tmp_path, phantom(oblique()[0]), sex="F", age="048Y", description="thorax", padding=0, **IDS)
    assert [path.name for path in paths] == [f"IM000{n}.dcm" for n in range(1, 8)]
    dataset = dcmread(paths[2])
    assert (dataset.SOPClassUID, dataset.SOPInstanceUID) == (CTImageStorage, "1.2.3.4.3")
    assert (dataset.Modality, dataset.PatientSex, dataset.PatientAge, dataset.SeriesDescription) == ("CT", "F", "048Y", "thorax")
    assert (dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue) == (1, -1024, 0)
    assert all(len(str(part.original_string)) <= 16 for part in dataset.ImageOrientationPatient)
    assert np.array_equal(dataset.pixel_array - 1024.0, phantom().values[2])


def test_one_enhanced_file(tmp_path):
    (path,) = write_series(tmp_path, phantom(), enhanced=True, **IDS)
    dataset = dcmread(path)
    assert (dataset.SOPClassUID, dataset.NumberOfFrames, dataset.pixel_array.shape) == (EnhancedCTImageStorage, 7, (7, 10, 12))


@pytest.mark.parametrize("enhanced", [False, True])
def test_equal_arguments_give_equal_bytes(tmp_path, enhanced):
    first, second = (write_series(tmp_path / name, phantom(), enhanced=enhanced, **IDS) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_writing_refuses_what_16_bits_do_not_hold(tmp_path):
    volume = phantom()
    with pytest.raises(ValueError, match=r"slice 0: -3000 to -3000 HU do not fit in 16 bits with rescale \(1.0, -1024.0\)"):
        write_series(tmp_path, Volume(np.full_like(volume.values, -3000), volume.grid), **IDS)
    assert not list(tmp_path.iterdir())
