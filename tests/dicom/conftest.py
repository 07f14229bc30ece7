"""A builder of small DICOM files with just the attributes a test is about."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate


@pytest.fixture(scope="session")
def dicom() -> Callable[..., bytes]:
    """`dicom(pixels, frame=None, syntax=..., **attributes)` gives a file's bytes; an attribute that is None is left out."""
    return _build


def _build(pixels: np.ndarray, frame: bytes | None = None, syntax: str = uid.ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """Native pixel data of `pixels`, or `frame` as its compressed form."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    dataset = Dataset()
    dataset.file_meta = meta
    bits = 8 * pixels.dtype.itemsize
    stored = attributes.get("BitsStored", bits)
    given = {
        "SOPClassUID": uid.SecondaryCaptureImageStorage, "SOPInstanceUID": "1.2.3", "Modality": "DX", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": bits,
        "BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": int(pixels.dtype.kind == "i"),
    } | attributes  # fmt: skip
    for keyword, value in given.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes() if frame is None else encapsulate([frame])
    dataset["PixelData"].VR = "OB" if frame is not None or bits == 8 else "OW"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
