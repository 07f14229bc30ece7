"""Predictions of volumes as files: masks on the source's grid, a record for each case, and a picture of the slices that matter."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from chestseg.arrays.overlay import overlay
from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.arrays.volume import Volume
from chestseg.arrays.window import to_grey
from chestseg.files import whole_file
from chestseg.inference.inputs import name_of_source
from chestseg.inference.volume_inputs import VolumeInput
from chestseg.inference.volume_predictor import VolumePrediction
from chestseg.nifti import write_nifti

FORMATS = ("nifti", "json", "overlay")
SLICES = 6
"""Of an overlay."""
ACROSS = 3
APART_MM = 10.0
"""Least distance of an overlay's slices, so that they do not all show one lesion."""
TILE = 384
"""Pixels of the longer side of an overlay's slice."""
WHITE = (255, 255, 255)


class VolumeResults:
    """A folder of results; each file is there whole or not at all, and takes the place of an older one.

    `nifti`: masks/NAME.nii.gz, 0 and 1, on exactly the source's grid. `json`: cases/NAME.json. `overlay`: overlays/NAME.png, the slices
    with most infiltrate.

    Args:
        folder: made when the first file is written.
        formats: some of `FORMATS`.
        model: what names the model in each record, such as its name and digest.
        window: the HU of black and white in overlays: those of the model's preprocessing.

    Raises:
        ValueError: no format, or one that is not known.
    """

    def __init__(self, folder: str | Path, formats: Sequence[str], model: dict[str, str], window: tuple[float, float]) -> None:
        unknown = [name for name in formats if name not in FORMATS]
        if unknown or not formats:
            raise ValueError(f"format {unknown[0] if unknown else ''!r}: choose from {', '.join(FORMATS)}")
        self.folder, self.formats, self.model, self.window = Path(folder), frozenset(formats), model, window
        self.written = 0

    def add(self, case: VolumeInput, prediction: VolumePrediction) -> None:
        """Write one case's files."""
        if "nifti" in self.formats:
            write_nifti(self.folder / "masks" / f"{case.name}.nii.gz", Volume(prediction.mask, case.volume.grid), np.uint8)
        if "overlay" in self.formats:
            picture = draw_slices(case.volume, prediction.mask, self.window)
            encoded, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            assert encoded, picture.shape
            with whole_file(self.folder / "overlays" / f"{case.name}.png") as temporary:
                temporary.write_bytes(data.tobytes())
        if "json" in self.formats:
            record = {"case": case.name, "source": name_of_source(case.source)} | describe_volume(case, prediction) | {"model": self.model}
            with whole_file(self.folder / "cases" / f"{case.name}.json") as temporary:
                temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        self.written += 1


def describe_volume(case: VolumeInput, prediction: VolumePrediction) -> dict[str, Any]:
    """A prediction in numbers; of a series also its UIDs, and what repair mode changed before it was segmented.

    `lung_share` is the infiltrate's part of the lungs, 0..1; it and `lung_ml` are None where no lungs were found.
    """
    lungs, series = prediction.lung_ml, case.series
    return {
        "shape": list(case.volume.grid.shape),
        "spacing_mm": [round(edge, 4) for edge in case.volume.grid.spacing],
        "probability": round(prediction.probability, 6),
        "present": prediction.present,
        "volume_ml": round(prediction.volume_ml, 3),
        "lung_ml": None if lungs is None else round(lungs, 1),
        "lung_share": round(min(prediction.volume_ml / lungs, 1.0), 4) if lungs else None,
    } | ({} if series is None else {"study_uid": series.study_uid, "series_uid": series.series_uid, "repairs": list(series.report.repairs)})


def draw_slices(volume: Volume, mask: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """The slices with most infiltrate, as axial images are shown, from the head down; evenly spread ones where there is none.

    Args:
        volume: HU, in any orientation.
        mask: uint8 of 0 and 1 on its grid.
        window: the HU of black and of white.

    Returns:
        (rows, columns, 3) uint8 RGB, up to six slices, each with the height of its centre in the patient in mm and its infiltrate in ml.
    """
    turned, grid = volume.grid.reorientation(), volume.grid.canonical()
    values, inside = turned.apply(volume.values), turned.apply(mask)
    areas = np.array([np.count_nonzero(plane) for plane in inside])
    tiles = []
    for place in sorted(_chosen(areas, grid.spacing[0]), reverse=True):
        tile = _tile(to_grey(values[place : place + 1], window)[0], inside[place], grid.spacing[1:])
        centre = grid.affine @ (place, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2, 1)
        label = f"z {centre[2]:.1f} mm   {areas[place] * grid.voxel_ml:.2f} ml"
        tiles.append(cv2.putText(tile, label, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, WHITE, 1, cv2.LINE_AA))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % min(ACROSS, len(tiles)))
    across = min(ACROSS, len(tiles))
    return np.vstack([np.hstack(tiles[start : start + across]) for start in range(0, len(tiles), across)])


def _chosen(areas: np.ndarray, spacing: float) -> list[int]:
    """Places of the slices to draw: the fullest first, each some way from those before it."""
    if not areas.any():
        spread = (np.arange(SLICES) + 0.5) / SLICES * len(areas)
        return sorted({int(place) for place in spread})
    apart, chosen = math.ceil(APART_MM / spacing), []
    left = areas.copy()
    while len(chosen) < SLICES and left.any():
        place = int(left.argmax())
        chosen.append(place)
        left[max(0, place - apart + 1) : place + apart] = 0
    return chosen


def _tile(grey: np.ndarray, inside: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """A slice with square pixels and its mask drawn over it."""
    edges = (grey.shape[0] * spacing[0], grey.shape[1] * spacing[1])
    size = (max(1, round(TILE * edges[0] / max(edges))), max(1, round(TILE * edges[1] / max(edges))))
    return overlay(resize_image(grey, size), resize_mask(np.ascontiguousarray(inside), size))
