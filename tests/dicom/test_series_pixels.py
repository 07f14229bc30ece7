"""Stored values to HU: rescale, padding, range; and decoding in threads."""

import threading

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import FileMetaDataset

from chestseg.dicom.series import read_series
from chestseg.dicom.series_files import list_series
from chestseg.dicom.series_pixels import AIR, read_pixels, to_hu
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, assert_same, edit, phantom


@pytest.fixture
def one(tmp_path):
    def build(**attributes):
        paths = write_series(tmp_path, phantom(shape=(2, 3, 3)), **IDS)
        for path in paths:
            edit(path, **attributes)
        return list_series(paths)[0].slices[0]

    return build


def test_hu_are_rounded_and_kept_within_air_and_int16(one):
    fractional = one(RescaleSlope="0.3", RescaleIntercept="-1000")
    assert to_hu(np.array([[0, 1, 5]], np.uint16), fractional).tolist() == [[-1000, -1000, -998]]
    wide = one(RescaleSlope=1, RescaleIntercept=0)
    assert to_hu(np.array([[-3024, -1025, 5]], np.int16), wide).tolist() == [[AIR, AIR, 5]]
    assert to_hu(np.array([[65535]], np.uint16), wide).tolist() == [[32767]]
    assert to_hu(np.array([[-128, 127]], np.int8), wide).tolist() == [[-128, 127]]
    assert to_hu(np.array([[0, 255]], np.uint8), wide).tolist() == [[0, 255]]


@pytest.mark.parametrize("intercept", [-2000, -1024, 0, 1000, 32767, -32767])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_every_stored_value_has_its_hu(one, kind, intercept):
    stored = np.arange(2**16, dtype=np.uint16).view(kind).reshape(256, 256)
    expected = (stored.astype(np.int64) + intercept).clip(AIR, 32767)
    assert np.array_equal(to_hu(stored, one(RescaleSlope=1, RescaleIntercept=intercept)), expected)
    assert np.array_equal(to_hu(stored, one(RescaleSlope="1.0000001", RescaleIntercept=intercept)), expected)


def test_padding_above_all_tissue_is_air_everywhere(one):
    padded = one(PixelPaddingValue=60000, PixelPaddingRangeLimit=65535)
    assert to_hu(np.array([[60000, 65535, 59999, 1024]], np.uint16), padded).tolist() == [[AIR, AIR, 32767, 0]]


def test_padding_that_tissue_also_has_is_air_at_the_border_only(one):
    padded = one(PixelPaddingValue=1024)
    stored = np.full((5, 5), 1100, np.uint16)
    stored[0] = stored[:, 0] = stored[2, 2] = 1024
    hu = to_hu(stored, padded)
    assert (hu[0] == AIR).all() and (hu[:, 0] == AIR).all()
    assert hu[2, 2] == 0 and hu[3, 3] == 76


def test_padding_of_minus_2000_written_unsigned_is_known_for_what_it_is(one):
    signed = one(PixelRepresentation=1, RescaleIntercept=0, PixelPaddingValue=-2000)
    assert signed.padding == (-2000, -2000)
    assert to_hu(np.array([[-2000, 40]], np.int16), signed).tolist() == [[AIR, 40]]


def test_padding_is_told_in_the_report(tmp_path):
    write_series(tmp_path, phantom(), padding=63536, **IDS)
    assert read_series(tmp_path).report.of_kind("padding").text == "padding value 63536 (62512 HU) becomes air"


def test_slices_come_from_as_many_threads_as_asked(tmp_path):
    write_series(tmp_path, phantom(shape=(20, 4, 4)), **IDS)
    slices, used = list_series(tmp_path)[0].slices, {}
    read_pixels(slices, lambda index, stored: used.__setitem__(index, threading.get_ident()), threads=1)
    assert sorted(used) == list(range(20)) and len(set(used.values())) == 1


@pytest.mark.parametrize("enhanced", [False, True])
def test_a_damaged_slice_is_named(tmp_path, enhanced):
    path = write_series(tmp_path, phantom(), enhanced=enhanced, **IDS)[-1]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=f"{path.name}: (damaged image|declares 7 frames and holds 6)"):
        read_series(tmp_path)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, None])
def test_every_uncompressed_encoding_is_read(tmp_path, syntax):
    volume = phantom()
    for path in write_series(tmp_path, volume, **IDS):
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax or uid.ExplicitVRLittleEndian
        if syntax == uid.ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        if syntax is None:
            dataset.file_meta, dataset.preamble = FileMetaDataset(), None
        implicit, little = syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
        list(dataset.iterall())  # elements that were not parsed are written as they were read, in the old byte order
        dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    assert_same(read_series(tmp_path).volume, volume)
