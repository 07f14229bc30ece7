"""One slice of a series before its pixels are read: where it lies, what its values mean, to whom it belongs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from chestseg.dicom.multiframe import PER_FRAME, SHARED, frame_attributes, is_multiframe
from chestseg.dicom.parsing import parse
from chestseg.dicom.source import Refused, naming

TAGS = [
    "AcquisitionNumber", "Columns", "FrameOfReferenceUID", "GantryDetectorTilt", "ImageOrientationPatient", "ImagePositionPatient",
    "ImageType", "InstanceNumber", "Modality", "NumberOfFrames", "PatientAge", "PatientID", "PatientSex", PER_FRAME,
    "PixelPaddingRangeLimit", "PixelPaddingValue", "PixelRepresentation", "PixelSpacing", "RescaleIntercept", "RescaleSlope",
    "RescaleType", "Rows", "SOPInstanceUID", "SamplesPerPixel", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", SHARED,
    "StudyInstanceUID",
]  # fmt: skip
NOT_AN_IMAGE = "not a DICOM image"
LOCALISER = {"LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM"}


class Origin(NamedTuple):
    """Whose slice it is, and of which series; slices that differ in any of this don't belong to one volume."""

    patient_id: str
    study_uid: str
    series_uid: str
    frame_of_reference: str
    folder: str
    """Tells series without a SeriesInstanceUID apart; empty for the others."""


class Geometry(NamedTuple):
    """Where a slice's pixels lie in the patient (PS3.3 C.7.6.2.1.1)."""

    position: tuple[float, ...]
    """x, y, z of the first pixel's centre in mm, LPS+."""
    orientation: tuple[float, ...]
    """Direction of a row (along which the column index rises), then of a column."""
    spacing: tuple[float, ...]
    """Millimetres down a column and along a row."""


@dataclass(frozen=True, eq=False, slots=True)
class Slice:
    """An image of one frame, or one frame of an enhanced image. Text that is absent is empty, numbers that are absent are None."""

    path: Path
    frame: int | None
    """Place in an enhanced image, from 0."""
    origin: Origin
    sop_uid: str
    modality: str
    sex: str
    age: str
    description: str
    series_number: int
    acquisition: int
    instance: int
    rows: int
    columns: int
    channels: int
    geometry: Geometry | None
    """None unless position, orientation and spacing are all there."""
    slope: float | None
    intercept: float | None
    rescale_type: str
    signed: bool
    padding: tuple[int, int] | None
    """Lowest and highest stored value that stands for "no pixel" (PS3.3 C.7.5.1.1.2)."""
    tilt: float
    """GantryDetectorTilt, degrees: what the scanner says, which need not be so."""
    localiser: bool


def read_slices(path: Path) -> list[Slice]:
    """Read the attributes of a DICOM image, a slice for each frame; no pixels are read.

    Raises:
        ValueError: one line that names the file: not DICOM, not an image, damaged, or several frames without positions of their own.
    """
    with naming(str(path)):
        dataset = parse(path, stop_before_pixels=True, specific_tags=TAGS)
        if "Rows" not in dataset or "Columns" not in dataset:
            raise Refused(NOT_AN_IMAGE)
        if is_multiframe(dataset):
            return [_slice(path, frame, attributes) for frame, attributes in enumerate(frame_attributes(dataset))]
        if (_number(dataset, "NumberOfFrames") or 1) > 1:
            raise Refused(f"{dataset.NumberOfFrames} frames without a position of each: export them as Enhanced CT or one by one")
        return [_slice(path, None, dataset)]


def _slice(path: Path, frame: int | None, dataset: Dataset) -> Slice:
    return Slice(
        path=path,
        frame=frame,
        origin=_origin(path, dataset),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        modality=_text(dataset, "Modality"),
        sex=_text(dataset, "PatientSex"),
        age=_text(dataset, "PatientAge"),
        description=_prose(dataset, "SeriesDescription"),
        series_number=int(_number(dataset, "SeriesNumber") or 0),
        acquisition=int(_number(dataset, "AcquisitionNumber") or 0),
        instance=int(_number(dataset, "InstanceNumber") or 0),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        channels=_integer(dataset, "SamplesPerPixel") or 1,
        geometry=_geometry(dataset),
        slope=_number(dataset, "RescaleSlope"),
        intercept=_number(dataset, "RescaleIntercept"),
        rescale_type=_text(dataset, "RescaleType").upper(),
        signed=bool(_integer(dataset, "PixelRepresentation")),
        padding=_padding(dataset),
        tilt=_number(dataset, "GantryDetectorTilt") or 0.0,
        localiser=not LOCALISER.isdisjoint(_text(dataset, "ImageType").upper().split("\\")),
    )


def _origin(path: Path, dataset: Dataset) -> Origin:
    series_uid = _text(dataset, "SeriesInstanceUID")
    return Origin(
        patient_id=_prose(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=series_uid,
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        folder="" if series_uid else str(path.parent),
    )


def _geometry(dataset: Dataset) -> Geometry | None:
    position, orientation = _numbers(dataset, "ImagePositionPatient", 3), _numbers(dataset, "ImageOrientationPatient", 6)
    spacing = _numbers(dataset, "PixelSpacing", 2)
    return Geometry(position, orientation, spacing) if position and orientation and spacing else None


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    values = [_stored(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if values[0] is not None else None


def _stored(dataset: Dataset, keyword: str) -> int | None:
    """A stored value with the sign pixels have, whatever the element's VR (US or SS) made of it."""
    value = _integer(dataset, keyword)
    if value is None:
        return None
    code = value % 2**16
    return code - 2**16 if _integer(dataset, "PixelRepresentation") and code >= 2**15 else code


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an attribute that is written as text, those that are empty left out.

    Read as they stand in the file: pydicom's checks of every UID and number take as long as all the rest, and warn of what is judged here.
    """
    if keyword not in dataset:
        return []
    value = dataset.get_item(keyword).value
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    elif not isinstance(value, (MultiValue, list)):
        value = [] if value is None else [value]
    return [text for text in (str(part).strip(" \0") for part in value) if text]


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None."""
    values = tuple(map(float, _texts(dataset, keyword)))
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    """The first number, or None where there is none or it is not finite."""
    values = _texts(dataset, keyword)
    number = float(values[0]) if values else math.nan
    return number if math.isfinite(number) else None


def _text(dataset: Dataset, keyword: str) -> str:
    """Text of an attribute whose values have no letters beyond ASCII; "" where it is absent."""
    return "\\".join(_texts(dataset, keyword))


def _prose(dataset: Dataset, keyword: str) -> str:
    """Text in the file's character set."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _integer(dataset: Dataset, keyword: str) -> int | None:
    """The value of an attribute that is written in binary."""
    value = dataset.get(keyword)
    return int.from_bytes(value, "little") if isinstance(value, bytes) else value
