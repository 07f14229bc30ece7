"""Predictions as files: masks, overlays, a record for each case, and the challenge's table."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from chestseg.arrays.overlay import overlay
from chestseg.arrays.rle import encode_rle
from chestseg.dicom.radiograph import Radiograph
from chestseg.files import whole_file
from chestseg.inference.inputs import name_of_source
from chestseg.inference.predictor import Prediction

FORMATS = ("png", "rle", "json", "overlay")
MM2_PER_CM2 = 100


class Results:
    """A folder of results; each file is there whole or not at all, and takes the place of an older one.

    `png`: masks/NAME.png, 0 and 255 at the source's size, a folder that `image_folder` reads as masks. `overlay`:
    overlays/NAME.png. `json`: cases/NAME.json. `rle`: rle.csv in the challenge's form, one row a case, written by `close`.

    Args:
        folder: made when the first file is written.
        formats: some of `FORMATS`.
        model: what names the model in each record, such as its name and digest.

    Raises:
        ValueError: no format, or one that is not known.
    """

    def __init__(self, folder: str | Path, formats: Sequence[str], model: dict[str, str]) -> None:
        unknown = [name for name in formats if name not in FORMATS]
        if unknown or not formats:
            raise ValueError(f"format {unknown[0] if unknown else ''!r}: choose from {', '.join(FORMATS)}")
        self.folder, self.formats, self.model = Path(folder), frozenset(formats), model
        self.rows: list[tuple[str, str]] = []

    def add(self, name: str, source: str | Path, radiograph: Radiograph, prediction: Prediction) -> None:
        """Write one case's files; `name` is its name among the results, `source` the file or URI it was read from."""
        rle = encode_rle(prediction.mask)
        self.rows.append((name, rle))
        if "png" in self.formats:
            _write_png(self.folder / "masks" / f"{name}.png", prediction.mask * 255)
        if "overlay" in self.formats:
            picture = overlay(radiograph.pixels, prediction.mask)
            _write_png(self.folder / "overlays" / f"{name}.png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if "json" in self.formats:
            record = {"case": name, "source": name_of_source(source)} | describe(prediction, radiograph.spacing_mm)
            with whole_file(self.folder / "cases" / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(record | {"rle": rle, "model": self.model}, indent=2) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Write what holds all cases."""
        if "rle" in self.formats:
            write_rle_table(self.folder / "rle.csv", self.rows)


def describe(prediction: Prediction, spacing_mm: tuple[float, float] | None) -> dict[str, Any]:
    """A prediction in numbers. `area_cm2` is None where the pixel spacing is not known or not credible, never guessed."""
    area = prediction.area_px
    return {
        "height": prediction.mask.shape[0],
        "width": prediction.mask.shape[1],
        "probability": round(prediction.probability, 6),
        "present": prediction.present,
        "area_px": area,
        "area_cm2": None if spacing_mm is None else round(area * spacing_mm[0] * spacing_mm[1] / MM2_PER_CM2, 2),
    }


def write_rle_table(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write (name, run-length code) rows as SIIM-ACR's `train-rle.csv` has them: header and codes keep their leading space."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("ImageId", " EncodedPixels"))
        table.writerows((name, f" {rle}") for name, rle in rows)


def _write_png(path: Path, picture: np.ndarray) -> None:
    encoded, data = cv2.imencode(".png", picture)
    assert encoded, picture.shape
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())
