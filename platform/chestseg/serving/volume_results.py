"""What a finished job leaves: a folder of files, written whole, from which every format is fetched."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from chestseg.dicom.segmentation import SegmentationModel, write_segmentation
from chestseg.files import whole_folder
from chestseg.inference.lesions import label_lesions
from chestseg.inference.volume_predictor import VolumePrediction
from chestseg.inference.write_volume import VolumeResults, describe_volume
from chestseg.nifti import write_nifti
from chestseg.serving.volume_reading import Source, plain


class Format(NamedTuple):
    """One of the files."""

    path: str
    media_type: str
    name: str
    """What a browser saves it as."""


FORMATS = {
    "json": Format("result.json", "application/json", "result.json"),
    "nifti": Format("masks/upload.nii.gz", "application/gzip", "mask.nii.gz"),
    "seg": Format("segmentation.dcm", "application/dicom", "segmentation.dcm"),
    "png": Format("overlays/upload.png", "image/png", "slices.png"),
    "zip": Format("result.zip", "application/zip", "result.zip"),
    "image": Format("image.nii.gz", "application/gzip", "image.nii.gz"),
}
"""`image` is a DICOM series as it was read, on the mask's grid, for viewers of NIfTI; who sent a NIfTI file has it."""


def write_result(folder: Path, source: Source, prediction: VolumePrediction, model: dict[str, Any], window: tuple[float, float]) -> None:
    """Write every format that the source allows.

    Args:
        folder: there whole or not at all.
        source: the volume, and its files where it came as DICOM.
        prediction: what was found in it.
        model: name, version, run id and digest.
        window: the HU of black and of white in pictures.
    """
    case = source.case
    with whole_folder(folder) as temporary:
        VolumeResults(temporary, ("nifti", "overlay"), model, window).add(case, prediction)
        record = describe_volume(case, prediction) | {"lesions": count_lesions(prediction.mask)}
        if case.series is not None:
            write_nifti(temporary / FORMATS["image"].path, case.volume)
        record |= {"seg_refused": _write_seg(temporary / FORMATS["seg"].path, source, prediction, model), "model": model}
        (temporary / FORMATS["json"].path).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _pack(temporary)


def read_record(folder: Path) -> dict[str, Any]:
    """What `json` holds: the numbers of `describe_volume`, lesions, why there is no DICOM SEG, and the model."""
    return json.loads((folder / FORMATS["json"].path).read_text(encoding="utf-8"))


def available(folder: Path) -> list[str]:
    """The formats that a result has."""
    return [name for name, one in FORMATS.items() if (folder / one.path).is_file()]


def count_lesions(mask: np.ndarray) -> int:
    """Connected components (26 neighbours) of a mask (D, H, W) of 0 and 1."""
    boxes: Sequence[tuple[slice, ...] | None] = ndimage.find_objects(mask)
    return len(label_lesions(mask[boxes[0]])[1]) - 1 if boxes else 0


def _write_seg(path: Path, source: Source, prediction: VolumePrediction, model: dict[str, Any]) -> str | None:
    """Write the DICOM Segmentation, or say why there is none."""
    if source.case.series is None:
        return "a NIfTI file has no DICOM images to refer to"
    named = SegmentationModel.of_bundle(model["name"], model["digest"])
    try:
        path.write_bytes(write_segmentation(source.files, prediction.mask, "infiltrate", named, series=source.case.series))
    except ValueError as error:
        return plain(str(error), source.files[0].parent)
    return None


def _pack(folder: Path) -> None:
    with zipfile.ZipFile(folder / FORMATS["zip"].path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in FORMATS.items():
            if name not in ("zip", "image") and (folder / one.path).is_file():
                archive.write(folder / one.path, one.name)
