"""The images a segmentation refers to: their headers, checked for all that a reference needs."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.config import RAISE
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from chestseg.dicom.parsing import parse
from chestseg.dicom.series_findings import is_uid
from chestseg.dicom.source import ImageFile, Refused, naming, read_source

SourceImage = ImageFile | Dataset
"""A DICOM file, or its data set; pixel data is not needed."""
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
SHARED = {
    "StudyInstanceUID": "studies",
    "SeriesInstanceUID": "series",
    "PatientID": "patients",
    "FrameOfReferenceUID": "frames of reference",
}
"""What all images of a series have alike, and what errors call several of them."""
EMPTY_IF_ABSENT = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
    "ReferringPhysicianName",
)  # fmt: skip
"""Every composite object has these, with or without a value (PS3.3 C.7.1.1, C.7.2.1)."""
CHECKED = ("AS", "CS", "DA", "TM")
"""VRs whose invalid values are not copied; names and identifiers are copied as they stand, or an archive would tell two patients."""
SEXES = ("M", "F", "O", "")


@dataclass(frozen=True, eq=False)
class Headers:
    """Data sets of one series without pixel data; changing them changes nobody else's."""

    name: str
    """What errors call them."""
    images: list[Dataset]


def read_headers(sources: SourceImage | Sequence[SourceImage], *, volume: bool) -> Headers:
    """Read and check headers of one radiograph, or of the images of one CT series.

    Args:
        sources: one image or several.
        volume: whether a frame of reference is needed.

    Raises:
        ValueError: one line that names the file: unreadable, not of the same series as the first, or without a UID that is needed.
    """
    listed = list(sources) if isinstance(sources, Sequence) and not isinstance(sources, (str, bytes)) else [sources]
    if not listed:
        raise ValueError("sources: no images: give the files that the mask was made from")
    named = [_read(source, place) for place, source in enumerate(listed, 1)]
    first_name, first = named[0]
    for name, header in named:
        with naming(name):
            _check(header, volume)
            for keyword, several in SHARED.items():
                if header.get(keyword) != first.get(keyword):
                    raise Refused(f"images of several {several} (the first is {first_name}): give those of one series")
    together = f" and the {len(named) - 1} images with it" if len(named) > 1 else ""
    return Headers(first_name + together, [header for _, header in named])


def _read(source: SourceImage, place: int) -> tuple[str, Dataset]:
    if isinstance(source, Dataset):
        header = Dataset()
        header.update({element.tag: copy.deepcopy(element) for element in source if element.keyword != "PixelData"})
        return f"source {place}", header
    data, name = read_source(source)
    with naming(name):
        header = parse(data, stop_before_pixels=True)
        if "Rows" not in header or "Columns" not in header:
            raise Refused("not a DICOM image: a segmentation refers to DICOM images only")
        return name, header


def _check(header: Dataset, volume: bool) -> None:
    wrong = [keyword for keyword in NEEDED if not is_uid(str(header.get(keyword) or ""))]
    frame = str(header.get("FrameOfReferenceUID") or "")
    if (volume or frame) and not is_uid(frame):
        wrong.append("FrameOfReferenceUID")
    if wrong:
        raise Refused(f"missing or invalid {', '.join(wrong)}: no object can refer to this image; export it with valid UIDs")
    if not frame and "FrameOfReferenceUID" in header:
        del header.FrameOfReferenceUID


def complete(header: Dataset) -> None:
    """Give the header that patient and study are copied from what it must have, empty, and take out values that their VR forbids."""
    for keyword in EMPTY_IF_ABSENT:
        if keyword not in header:
            setattr(header, keyword, "")
    for element in header:
        if element.VR in CHECKED and not _is_valid(element.VR, element.value):
            header[element.tag].value = ""
    if header.PatientSex not in SEXES:
        header.PatientSex = ""
    if not header.get("SpecificCharacterSet", "ASCII"):
        del header.SpecificCharacterSet


def _is_valid(vr: str, value: object) -> bool:
    try:
        for part in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
            validate_value(vr, part, RAISE)
    except ValueError:
        return False
    return True
