"""Files that are no DICOM are told by their first bytes; hostile ones end after a bounded number of elements."""

import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from chestseg.dicom import parsing
from chestseg.dicom.radiograph import read_radiograph
from chestseg.dicom.series_slice import read_slices


def test_zeros_are_not_looked_at(tmp_path):
    zeros = bytes(2_000_000)
    assert not parsing.parse(zeros)
    with pytest.raises(ValueError, match="neither DICOM nor PNG nor JPEG"):
        read_radiograph(zeros)
    (tmp_path / "zeros").write_bytes(zeros)
    with pytest.raises(ValueError, match="not a DICOM image"):
        read_slices(tmp_path / "zeros")


def test_a_data_set_without_preamble_or_meta_information_is_taken(dicom):
    sound = dcmread(io.BytesIO(dicom(np.eye(16, dtype=np.uint8))))
    sound.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = False, True
    write_dataset(file, sound)
    assert parsing.parse(file.getvalue()).PixelData == sound.PixelData


@pytest.mark.parametrize("place", ["before the data set", "after it"])
def test_elements_without_end_end(dicom, tmp_path, monkeypatch, place):
    monkeypatch.setattr(parsing, "MOST_READS", 1000)
    sound = dicom(np.eye(16, dtype=np.uint8))
    at = 132 if place == "before the data set" else len(sound)
    hostile = sound[:at] + bytes(10_000) + sound[at:]
    with pytest.raises(ValueError, match="more data elements than any image has"):
        read_radiograph(hostile)
    (tmp_path / "hostile").write_bytes(hostile)
    if place == "before the data set":
        with pytest.raises(ValueError, match="more data elements"):
            read_slices(tmp_path / "hostile")
