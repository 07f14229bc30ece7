"""A radiograph from any file that holds one, in one form: 8-bit grey, bright where the body is dense."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from chestseg.dicom.dataset import parse_dicom, stored_values
from chestseg.dicom.picture import is_picture, read_picture
from chestseg.dicom.pixels import display, stretch
from chestseg.dicom.source import ImageFile, naming, read_source
from chestseg.dicom.spacing import spacing_mm


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One image and what its file says of it; nothing is filled in that the file lacks."""

    pixels: np.ndarray
    """(H, W) uint8 as a viewer first shows it, MONOCHROME2: air is dark, bone is bright."""
    patient_id: str = ""
    """Empty where the file has none: such patients cannot be told apart."""
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    spacing_mm: tuple[float, float] | None = None
    """Down a column and along a row; None unless it gives a credible field of view."""
    view: str | None = None
    """ViewPosition, such as AP, PA or LL."""
    sex: str | None = None
    age: str | None = None
    """PatientAge as it stands: `038Y` by the standard, `38` in SIIM-ACR."""
    modality: str | None = None
    transfer_syntax: str | None = None
    """Name of the DICOM transfer syntax; None for PNG and JPEG files."""


def read_radiograph(source: ImageFile, name: str | None = None) -> Radiograph:
    """Read a radiograph from DICOM, PNG or JPEG, told apart by their content.

    DICOM: one frame, grey (a colour image counts as grey where its channels are equal), 8 to 16 bits, native or compressed as JPEG
    (Baseline, Extended, Lossless), JPEG-LS, JPEG 2000 or RLE. What is shown of the stored values is said at `pixels.display`.
    PNG and JPEG: 8 bits as they are, 16 bits stretched over their percentiles.

    Args:
        source: path, bytes or open binary file.
        name: what errors call the image; the path when there is one.

    Raises:
        ValueError: one line that names the image, what is wrong with it and what to do.
    """
    data, name = read_source(source, name)
    with naming(name):
        if is_picture(data):
            return Radiograph(stretch(read_picture(data)))
        dataset = parse_dicom(data)
        pixels = display(stored_values(dataset), dataset)
        return Radiograph(
            pixels=pixels,
            patient_id=_text(dataset, "PatientID") or "",
            study_uid=_text(dataset, "StudyInstanceUID"),
            series_uid=_text(dataset, "SeriesInstanceUID"),
            sop_uid=_text(dataset, "SOPInstanceUID"),
            spacing_mm=spacing_mm(dataset),
            view=_text(dataset, "ViewPosition"),
            sex=_text(dataset, "PatientSex"),
            age=_text(dataset, "PatientAge"),
            modality=_text(dataset, "Modality"),
            transfer_syntax=dataset.file_meta.TransferSyntaxUID.name,
        )


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = dataset.get(keyword)
    return None if value is None else str(value).strip() or None
