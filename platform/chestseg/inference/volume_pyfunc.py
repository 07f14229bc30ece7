"""A bundle of volumes as MLflow calls it."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.inference.pyfunc_input import encoded, listed
from chestseg.inference.volume_inputs import read_hu
from chestseg.inference.volume_predictor import VolumePrediction, VolumePredictor
from chestseg.nifti import write_nifti

SUFFIXES = (".nii", ".nii.gz")
REMEDY = "turn them into HU; grey levels of the model's window are taken as a uint8 array"


class VolumeBundleModel:
    """What `mlflow.pyfunc` calls for a model of volumes. An array in, a mask out; NIfTI files in, a table out."""

    def __init__(self, predictor: VolumePredictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray | pd.DataFrame:
        """Segment volumes.

        Args:
            model_input: one of
                an array (slices, rows, columns) at the model's spacing, slices towards the head, rows to the back and columns to the
                left: HU, or, where its type is uint8, grey levels of the model's window;
                a NIfTI file, or a list of them, or a DataFrame's only or `image` column: paths that end in .nii or .nii.gz, bytes, or
                base64 text.
            params: none are known; MLflow passes it.

        Returns:
            For an array: a uint8 mask of 0 and 1 of its shape. For files: a DataFrame, one row each, with slices, rows, columns,
            probability, present, volume_ml, lung_ml (None where no lungs were found) and mask, the bytes of a `.nii.gz` file on the
            source's grid.

        Raises:
            ValueError: an input of another kind, or a file that can't be read; names it or its place.
        """
        if params:
            raise ValueError(f"params {sorted(params)}: this model takes none")
        if isinstance(model_input, np.ndarray) and model_input.dtype != object:
            return self._array(model_input)
        single = isinstance(model_input, (str, Path, bytes))
        return pd.DataFrame([self._row(item, place) for place, item in enumerate([model_input] if single else listed(model_input))])

    def _array(self, array: np.ndarray) -> np.ndarray:
        spacing = self.predictor.preprocessing.spacing
        if array.ndim != 3 or not array.size or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise ValueError(
                f"an array of shape {array.shape} and type {array.dtype}: give finite numbers of (slices, rows, columns), "
                f"{spacing[0]:g}, {spacing[1]:g} and {spacing[2]:g} mm apart"
            )
        slices, rows, columns = array.shape
        if array.dtype == np.uint8:
            return self.predictor.segment(array, (slices, rows, columns), spacing)[0]
        return self.predictor.predict(Volume(array, Grid.upright((slices, rows, columns), spacing))).mask

    def _row(self, item: Any, place: int) -> dict[str, Any]:
        named = isinstance(item, Path) or (isinstance(item, str) and item.endswith(SUFFIXES))
        volume = read_hu(Path(item), str(item), REMEDY) if named else read_hu(encoded(item, place), f"image {place}", REMEDY)
        found = self.predictor.predict(volume)
        return describe_volume(found) | {"mask": _packed(Volume(found.mask, volume.grid))}


def describe_volume(found: VolumePrediction) -> dict[str, Any]:
    """A prediction in numbers."""
    slices, rows, columns = found.mask.shape
    return {
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "probability": round(found.probability, 6),
        "present": found.present,
        "volume_ml": round(found.volume_ml, 3),
        "lung_ml": None if found.lung_ml is None else round(found.lung_ml, 1),
    }


def _packed(mask: Volume) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.nii.gz"
        write_nifti(path, mask)
        return path.read_bytes()
