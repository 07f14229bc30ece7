"""Write a volume as a CT series: one file a slice (CT Image IOD, PS3.3 A.3), or one Enhanced CT file (PS3.3 A.38)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from chestseg.arrays.volume import Volume
from chestseg.dicom.write import IMPLEMENTATION_NAME, IMPLEMENTATION_UID

AIR = -1024
HU = (1.0, float(AIR))
"""Slope and intercept of most scanners."""
Attributes = dict[str, Any]
FRAME_TYPE = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
TEMPLATE = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "StudyDate": "",
    "StudyTime": "",
    "AccessionNumber": "",
    "Modality": "CT",
    "Manufacturer": "",
    "ReferringPhysicianName": "",
    "PatientBirthDate": "",
    "BodyPartExamined": "CHEST",
    "StudyID": "",
    "AcquisitionNumber": "1",
    "PositionReferenceIndicator": "",
    "KVP": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
}
"""What is the same in every file."""


def write_series(
    folder: str | Path,
    volume: Volume,
    *,
    patient_id: str,
    study_uid: str,
    series_uid: str,
    series_number: int = 1,
    sex: str = "",
    age: str = "",
    description: str = "",
    rescales: Sequence[tuple[float, float]] | None = None,
    padding: int | None = None,
    tilt_degrees: float = 0.0,
    enhanced: bool = False,
) -> list[Path]:
    """Write a volume as uncompressed DICOM, in any orientation; equal arguments give equal bytes.

    Args:
        folder: made if need be; files are called IM0001.dcm and so on, in the order of the slices, or enhanced.dcm.
        volume: HU of any numeric type, -1024 to 64511 with the usual rescale; perpendicular axes. Slices are written as they lie.
        patient_id: PatientID, also written as the name.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID; the slices' SOPInstanceUIDs are this with `.1`, `.2` and so on, the frame of reference's with `.0`.
        series_number: SeriesNumber.
        sex: PatientSex.
        age: PatientAge, such as 048Y.
        description: SeriesDescription.
        rescales: slope and intercept of each slice; (1, -1024) for all when None.
        padding: PixelPaddingValue, as a stored value. Voxels must hold it already, in HU.
        tilt_degrees: the gantry's: each slice is moved down its columns by the tangent of this for each mm along the normal, and its
            content the other way, so that the patient stays where it was; linear interpolation where that is no whole pixel.
        enhanced: one Enhanced CT file in place of a file a slice.

    Returns:
        The files, in the order of the slices.

    Raises:
        ValueError: values that do not fit in 16 bits with the rescale.
    """
    slices = [_slice_attributes(volume, index, rescales[index] if rescales else HU, tilt_degrees) for index in range(len(volume.values))]
    series = _series_attributes(volume, patient_id, study_uid, series_uid) | {
        "PatientSex": sex,
        "PatientAge": age,
        "SeriesNumber": series_number,
    }
    series |= {"SeriesDescription": description, "SliceThickness": f"{volume.grid.spacing[0]:.10g}"}
    series |= {} if padding is None else {"PixelPaddingValue": padding}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if enhanced:
        return [_save(folder / "enhanced.dcm", _enhanced(series, slices), EnhancedCTImageStorage, f"{series_uid}.1")]
    return [
        _save(folder / f"IM{number:04d}.dcm", _dataset(series | one | {"InstanceNumber": number}), CTImageStorage, f"{series_uid}.{number}")
        for number, one in enumerate(slices, 1)
    ]


def _series_attributes(volume: Volume, patient_id: str, study_uid: str, series_uid: str) -> Attributes:
    identity = {"PatientName": patient_id, "PatientID": patient_id, "StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    _, rows, columns = volume.grid.shape
    return TEMPLATE | identity | {"FrameOfReferenceUID": f"{series_uid}.0", "Rows": rows, "Columns": columns}


def _slice_attributes(volume: Volume, index: int, rescale: tuple[float, float], tilt_degrees: float) -> Attributes:
    grid, (slope, intercept) = volume.grid, rescale
    spacing = np.array(grid.spacing)
    _, down, along = (grid.affine[:3, :3] / spacing).T
    moved = index * spacing[0] * math.tan(math.radians(tilt_degrees))
    position = grid.affine[:3, 3] + index * grid.affine[:3, 0] + moved * down
    hu = np.asarray(volume.values[index], np.float64)
    if tilt_degrees:
        shift = np.array([[1, 0, 0], [0, 1, -moved / spacing[1]]])
        hu = cv2.warpAffine(hu, shift, hu.shape[::-1], flags=cv2.INTER_LINEAR, borderValue=float(AIR))
    stored = np.rint((hu - intercept) / slope)
    if stored.min() < 0 or stored.max() >= 2**16:
        raise ValueError(
            f"slice {index}: {hu.min():g} to {hu.max():g} HU do not fit in 16 bits with rescale {rescale}: clip, or give another"
        )
    return {
        "ImagePositionPatient": [format_number_as_ds(float(value)) for value in position],
        "ImageOrientationPatient": [format_number_as_ds(float(value)) for value in (*along, *down)],
        "PixelSpacing": [format_number_as_ds(float(value)) for value in spacing[1:]],
        "GantryDetectorTilt": format_number_as_ds(float(tilt_degrees)),
        "RescaleSlope": format_number_as_ds(float(slope)),
        "RescaleIntercept": format_number_as_ds(float(intercept)),
        "RescaleType": "HU",
        "PixelData": stored.astype("<u2").tobytes(),
    }


def _enhanced(series: Attributes, slices: list[Attributes]) -> Dataset:
    pixels = b"".join(one.pop("PixelData") for one in slices)
    dataset = _dataset(series | {"ImageType": FRAME_TYPE, "NumberOfFrames": len(slices), "PixelData": pixels})
    measures = _dataset({"PixelSpacing": slices[0]["PixelSpacing"], "SliceThickness": series["SliceThickness"]})
    orientation = _dataset({"ImageOrientationPatient": slices[0]["ImageOrientationPatient"]})
    shared = _dataset({"PixelMeasuresSequence": [measures], "PlaneOrientationSequence": [orientation]})
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_functional_groups(one) for one in slices]
    return dataset


def _functional_groups(one: Attributes) -> Dataset:
    rescale = {name: one[name] for name in ("RescaleSlope", "RescaleIntercept", "RescaleType")}
    return _dataset({
        "PlanePositionSequence": [_dataset({"ImagePositionPatient": one["ImagePositionPatient"]})],
        "PixelValueTransformationSequence": [_dataset(rescale)],
        "CTImageFrameTypeSequence": [_dataset({"FrameType": FRAME_TYPE})],
    })  # fmt: skip


def _dataset(attributes: Attributes) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    return dataset


def _save(path: Path, dataset: Dataset, sop_class: UID, sop_uid: str) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(sop_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION_UID, IMPLEMENTATION_NAME
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)
    return path
