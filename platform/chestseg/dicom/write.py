"""Write a radiograph as DICOM in the form of SIIM-ACR's files: Secondary Capture, 8 bits, JPEG Baseline or uncompressed."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

IMPLEMENTATION_UID = UID("2.25.160311870428690917251870452211793208531")
IMPLEMENTATION_NAME = "CHESTSEG"

TEMPLATE = {
    "SpecificCharacterSet": "ISO_IR 100",
    "SOPClassUID": SecondaryCaptureImageStorage,
    "StudyDate": "",
    "StudyTime": "",
    "AccessionNumber": "",
    "Modality": "CR",
    "ConversionType": "WSD",
    "ReferringPhysicianName": "",
    "PatientBirthDate": "",
    "BodyPartExamined": "CHEST",
    "StudyID": "",
    "SeriesNumber": "1",
    "InstanceNumber": "1",
    "PatientOrientation": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelRepresentation": 0,
}
"""What is the same in every file."""


def write_radiograph(
    path: str | Path,
    pixels: np.ndarray,
    *,
    patient_id: str,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    view: str = "PA",
    sex: str = "",
    age: str = "",
    spacing_mm: tuple[float, float] | None = None,
    jpeg_quality: int | None = None,
) -> None:
    """Write one radiograph, and the folders above it; equal arguments give equal bytes.

    Attributes are those of the SC Image IOD (PS3.3 section A.8.1) that SIIM-ACR's files have. Modality is CR, as there.

    Args:
        path: file to write; one that is there is replaced.
        pixels: uint8 (H, W), bright = dense (MONOCHROME2).
        patient_id: PatientID, also written as the name; empty is allowed.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        sop_uid: SOPInstanceUID.
        view: ViewPosition, such as AP or PA.
        sex: PatientSex: M, F, O or empty.
        age: PatientAge: three digits and D, W, M or Y, such as 038Y, or empty.
        spacing_mm: PixelSpacing, down a column and along a row; left out when None.
        jpeg_quality: 1 to 100 for JPEG Baseline; None writes Explicit VR Little Endian, uncompressed.

    Raises:
        ValueError: pixels that are not uint8 (H, W), or a value that DICOM does not allow; names the attribute.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"{path}: pixels are {pixels.dtype} {pixels.shape}: give uint8 (rows, columns)")
    dataset = Dataset()
    _add(dataset, TEMPLATE)
    _add(dataset, {"PatientName": patient_id, "PatientID": patient_id, "PatientSex": sex, "PatientAge": age})
    _add(dataset, {"ViewPosition": view, "SeriesDescription": f"view: {view}"})
    _add(dataset, {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": sop_uid})
    _add(dataset, {"Rows": pixels.shape[0], "Columns": pixels.shape[1]})
    if spacing_mm is not None:
        _add(dataset, {"PixelSpacing": [f"{distance:.6g}" for distance in spacing_mm]})
    _add_pixels(dataset, pixels, jpeg_quality)
    dataset.file_meta = _file_meta(sop_uid, compressed=jpeg_quality is not None)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _add(dataset: Dataset, attributes: Mapping[str, object]) -> None:
    for keyword, value in attributes.items():
        try:
            element = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=RAISE)
        except ValueError as error:
            raise ValueError(f"{keyword} {value!r} is not allowed in DICOM: {error}") from error
        dataset.add(element)


def _add_pixels(dataset: Dataset, pixels: np.ndarray, jpeg_quality: int | None) -> None:
    if jpeg_quality is None:
        data = pixels.tobytes()
        dataset.add_new("PixelData", "OB", data + b"\0" * (len(data) % 2))
        return
    code = _jpeg(pixels, jpeg_quality)
    ratio = f"{pixels.size / len(code):.4g}"
    _add(dataset, {"LossyImageCompression": "01", "LossyImageCompressionRatio": ratio, "LossyImageCompressionMethod": "ISO_10918_1"})
    dataset.add_new("PixelData", "OB", encapsulate([code]))


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    done, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return code.tobytes()


def _file_meta(sop_uid: str, *, compressed: bool) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(sop_uid)
    meta.TransferSyntaxUID = JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return meta
