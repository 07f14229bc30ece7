"""Masks as DICOM Segmentation objects (PS3.3 A.51) that refer to the images they were found in."""

import hashlib
import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DT

from chestseg import __version__
from chestseg.dicom.segmentation_frames import radiograph_frames, series_frames
from chestseg.dicom.segmentation_source import SourceImage, complete, read_headers
from chestseg.dicom.series import Series
from chestseg.dicom.source import naming

Segmented = Literal["pneumothorax", "infiltrate"]
SOFTWARE = "chestseg"
NO_SERIAL = "none"
"""DeviceSerialNumber must have a value (PS3.3 C.7.5.2), and software has no number to give."""
SERIES_NUMBERS_ABOVE = 1000
"""Added to the source's SeriesNumber, so that results stand behind the images in a list."""
LONGEST_TEXT = 64
DIGITS = 12
"""Of a digest: 48 bits tell the models of a site apart."""
"""Characters of an LO (PS3.5 section 6.2)."""


@dataclass(frozen=True)
class _Meaning:
    """What a segment shows, in codes."""

    property_type: Code
    region: Code | None = None
    """Anatomic region, where the type does not imply it."""


MEANINGS: dict[Segmented, _Meaning] = {
    "pneumothorax": _Meaning(codes.SCT.Pneumothorax),
    "infiltrate": _Meaning(codes.DCM.Infiltrate, codes.SCT.Lung),
}
"""Both types are in PS3.16 CID 6102. An infiltrate is ground glass and consolidation in one, as the model is taught them."""


@dataclass(frozen=True)
class SegmentationModel:
    """Which model made a mask, as the object names it. From it follow UIDs, so all ways to a model name it by `of_bundle`."""

    name: str
    """Printable ASCII without a backslash, 1 to 64 characters; such as `cxr-pneumothorax`."""
    version: str
    """The same."""

    def __post_init__(self) -> None:
        for key, text in (("name", self.name), ("version", self.version)):
            if not (text.strip() and len(text) <= LONGEST_TEXT and text.isascii() and text.isprintable() and "\\" not in text):
                raise ValueError(f"model {key} {text!r}: give 1 to {LONGEST_TEXT} printable ASCII characters without a backslash")

    @classmethod
    def of_bundle(cls, name: str, digest: str) -> Self:
        """By the model's name and the first digits of its bundle's SHA-256, wherever the bundle came from: not every one is registered."""
        return cls(name, digest[:DIGITS])


def write_segmentation(
    sources: SourceImage | Sequence[SourceImage],
    mask: np.ndarray,
    segmented: Segmented,
    model: SegmentationModel,
    *,
    series: Series | None = None,
    when: datetime | None = None,
) -> bytes:
    """Write a mask as a binary DICOM Segmentation in the study of its source; equal arguments give equal bytes.

    Patient and study are copied from the source. SeriesInstanceUID follows from the source's series, the model and what is segmented,
    SOPInstanceUID from these, the images and the mask as well: the same result written twice is one object to an archive.
    Frames without a marked pixel are left out; where no pixel at all is marked, every frame is written, empty: looked at, nothing found.

    Args:
        sources: the radiograph's file, or the files of one CT series in any order, one enhanced file included: paths, bytes, open
            files or data sets. Pixels are not read.
        mask: bool or whole numbers 0 and 1. Radiograph: (rows, columns) of its file. CT: (slices, rows, columns) of `series.volume`.
        segmented: what the mask shows.
        model: what made it.
        series: the CT series as it was read from these sources, resampled or not; None for a radiograph.
        when: the time of making; now when None.

    Returns:
        The file: Explicit VR Little Endian, uncompressed.

    Raises:
        ValueError: one line that names the source or the mask: of different shapes, of several series, not those of `series`, without
            the UIDs that a reference needs, or a damaged file.
    """
    headers = read_headers(sources, volume=series is not None)
    frames = radiograph_frames(headers, mask) if series is None else series_frames(headers, series, mask)
    first = frames.sources[0]
    origin = _origin(str(first.SeriesInstanceUID), segmented, model)
    images = "\n".join(str(image.SOPInstanceUID) for image in frames.all_sources)
    digest = hashlib.sha256(images.encode() + np.packbits(frames.mask).tobytes()).hexdigest()
    found, when = bool(frames.mask.any()), when or datetime.now()
    with naming(headers.name):
        complete(first)
        # highdicom warns of unusual names by printing them: it is not given any.
        patient, first.PatientName = first.PatientName, ""
        made = Segmentation(
            source_images=frames.sources,
            further_source_images=frames.further_sources or None,
            pixel_array=frames.mask,
            plane_positions=frames.positions,
            pixel_measures=frames.measures,
            omit_empty_frames=found,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segmented, model)],
            series_instance_uid=_uid("series", *origin),
            series_number=SERIES_NUMBERS_ABOVE + max(0, int(first.get("SeriesNumber") or 0)),
            sop_instance_uid=_uid("instance", *origin, digest),
            instance_number=1,
            manufacturer=SOFTWARE,
            manufacturer_model_name=SOFTWARE,
            software_versions=__version__,
            device_serial_number=NO_SERIAL,
            content_label=segmented.upper(),
            content_description=f"{segmented.capitalize() if found else f'No {segmented}'} found by software, for research use only",
            series_description=f"{segmented.capitalize()} by {model.name} {model.version}"[:LONGEST_TEXT],
            content_date=when.date(),
            content_time=when.time(),
        )
        made.PatientName, made.ContentCreatorName = patient, ""
        if frames.positions is None:
            made.PatientOrientation = first.get("PatientOrientation") or ""
        return _file(made, _uid("dimensions", *origin, digest), when)


def segmentation_series_uid(source_series_uid: str, segmented: Segmented, model: SegmentationModel) -> str:
    """SeriesInstanceUID of what `write_segmentation` writes for images of a series: an archive that has it has the result already."""
    return _uid("series", *_origin(source_series_uid, segmented, model))


def _origin(source_series_uid: str, segmented: Segmented, model: SegmentationModel) -> tuple[str, ...]:
    return source_series_uid, segmented, model.name, model.version, __version__


def _description(segmented: Segmented, model: SegmentationModel) -> SegmentDescription:
    meaning = MEANINGS[segmented]
    algorithm = AlgorithmIdentificationSequence(
        model.name, codes.DCM.ArtificialIntelligence, model.version, source=f"{SOFTWARE} {__version__}"
    )
    return SegmentDescription(
        segment_number=1,
        segment_label=segmented.capitalize(),
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=meaning.property_type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        anatomic_regions=[meaning.region] if meaning.region else None,
    )


def _file(made: Segmentation, dimensions_uid: str, when: datetime) -> bytes:
    """The object as a file, with what highdicom draws at random or takes from the clock made to follow from the arguments."""
    made.ContributingEquipmentSequence[-1].ContributionDateTime = DT(when)
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    for item in (*made.DimensionIndexSequence, *made.DimensionOrganizationSequence):
        item.DimensionOrganizationUID = dimensions_uid
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _uid(*parts: str) -> str:
    """A UID from a UUID (PS3.5 annex B.2), the same for the same parts."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(10).join((SOFTWARE, *parts))).int}"
