"""MLflow's loader module for a bundle: `mlflow.pyfunc.load_model("models:/NAME@champion").predict(images)`.

Registered with `loader_module` and `data_path`, a model is this code and the bundle's files; no object is pickled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from chestseg.arrays.rle import encode_rle
from chestseg.bundle import load_bundle
from chestseg.dicom.radiograph import read_radiograph
from chestseg.inference.postprocess import image_mm2
from chestseg.inference.predictor import Predictor
from chestseg.inference.pyfunc_input import encoded, listed
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.inference.volume_pyfunc import VolumeBundleModel
from chestseg.inference.write import describe
from chestseg.preprocessing import VolumePreprocessing


class BundleModel:
    """What `mlflow.pyfunc` calls for a model of radiographs. Arrays in, masks out; files in, a table out."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray | list[np.ndarray] | pd.DataFrame:
        """Segment images.

        Args:
            model_input: one of
                an array (N, H, W) or (H, W), bright = dense: whole numbers 0..255, or floats 0..1;
                a list of arrays (H, W) of any sizes;
                a list, or a DataFrame's only or `image` column, of DICOM, PNG or JPEG files as bytes or base64 text.
            params: none are known; MLflow passes it.

        Returns:
            For an array: uint8 masks of 0 and 1 of its shape. For a list of arrays: a list of such masks. For files: a DataFrame, one row
            each, with height, width, probability, present, area_px, area_cm2 (None where spacing is not credible) and rle, the
            mask in SIIM-ACR's run-length code at the file's size.

        Raises:
            ValueError: an input of another kind, or an image that can't be read; names its place.
        """
        if params:
            raise ValueError(f"params {sorted(params)}: this model takes none")
        if isinstance(model_input, np.ndarray) and model_input.dtype != object:
            return self._array(model_input)
        items = listed(model_input)
        if items and all(isinstance(item, np.ndarray) for item in items):
            return [found.mask for found in self.predictor.predict([_grey(item) for item in items])]
        return self._files(items)

    def _array(self, array: np.ndarray) -> np.ndarray:
        if array.ndim not in (2, 3) or not array.size:
            raise ValueError(f"an array of shape {array.shape}: give (images, height, width) or (height, width)")
        images = _grey(array).reshape(-1, *array.shape[-2:])
        return np.stack([found.mask for found in self.predictor.predict(list(images))]).reshape(array.shape)

    def _files(self, items: Sequence[Any]) -> pd.DataFrame:
        radiographs = [read_radiograph(encoded(item, place), f"image {place}") for place, item in enumerate(items)]
        shown = [image_mm2(radiograph.pixels.shape, radiograph.spacing_mm) for radiograph in radiographs]
        found = self.predictor.predict([radiograph.pixels for radiograph in radiographs], shown_mm2=shown)
        rows = [describe(p, r.spacing_mm) | {"rle": encode_rle(p.mask)} for p, r in zip(found, radiographs, strict=True)]
        return pd.DataFrame(rows)


def _load_pyfunc(path: str) -> BundleModel | VolumeBundleModel:
    """MLflow's entry point: the model from a bundle's folder, of radiographs or of volumes, on the GPU if there is one."""
    bundle = load_bundle(path)
    if isinstance(bundle.spec.preprocessing, VolumePreprocessing):
        return VolumeBundleModel(VolumePredictor(bundle))
    return BundleModel(Predictor(bundle))


def _grey(array: np.ndarray) -> np.ndarray:
    """Any array of grey values to uint8; the range decides nothing, the type does."""
    if array.dtype == np.uint8:
        return array
    whole = np.issubdtype(array.dtype, np.integer)
    if not whole and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"an array of type {array.dtype}: give whole numbers 0..255 or floats 0..1")
    top = 255 if whole else 1
    if array.size and not (array.min() >= 0 and array.max() <= top):
        raise ValueError(
            f"values from {array.min()} to {array.max()} in an array of type {array.dtype}: whole numbers lie in 0..255, floats in 0..1"
        )
    return array.astype(np.uint8) if whole else (array * 255).round().astype(np.uint8)
