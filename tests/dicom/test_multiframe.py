"""Frames of enhanced images as single images."""

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from chestseg.dicom.dataset import stored_values
from chestseg.dicom.multiframe import frame_attributes, frame_reader
from chestseg.dicom.series import read_series
from chestseg.dicom.source import Refused
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, assert_same, phantom


@pytest.fixture
def enhanced(tmp_path):
    return write_series(tmp_path, phantom(), enhanced=True, **IDS)[0]


def test_a_frame_has_its_own_attributes_over_the_shared_ones(enhanced):
    frames = list(frame_attributes(dcmread(enhanced)))
    assert [float(frame.ImagePositionPatient[2]) for frame in frames] == [-7.125 + 2.5 * n for n in range(7)]
    assert [frame.InstanceNumber for frame in frames] == [1, 2, 3, 4, 5, 6, 7]
    assert {tuple(frame.PixelSpacing) for frame in frames} == {(0.7, 0.8)}
    assert frames[0].PatientID == "P1" and frames[0].ImageType[2] == "VOLUME"


def test_groups_and_pixels_of_fewer_frames_than_declared_are_refused(enhanced):
    dataset = dcmread(enhanced)
    dataset.NumberOfFrames = 8
    with pytest.raises(Refused, match="8 frames and positions of 7"):
        list(frame_attributes(dataset))
    with pytest.raises(Refused, match="declares 8 frames and holds 7"):
        frame_reader(dataset)


def test_compressed_frames_are_decoded_one_by_one(enhanced):
    import imagecodecs

    dataset = dcmread(enhanced)
    frames = np.frombuffer(dataset.PixelData, np.uint16).reshape(7, 10, 12)
    dataset.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(frame) for frame in frames])
    assert np.array_equal(stored_values(frame_reader(dataset)(3)), frames[3])
    dataset.save_as(enhanced)
    assert_same(read_series(enhanced).volume, phantom())
