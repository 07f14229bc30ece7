"""What a user of `mlflow.pyfunc` may hand in, and what comes back."""

import base64
import importlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from chestseg.arrays.rle import decode_rle
from chestseg.bundle import save_bundle
from chestseg.inference.predictor import Predictor
from chestseg.inference.pyfunc import BundleModel
from tests.inference.tiny import bright, tiny_network, tiny_spec

IMAGE = np.full((48, 32), 20, np.uint8)
IMAGE[10:30, 8:24] = 220
TRUTH = IMAGE == 220
TABLE = ["height", "width", "probability", "present", "area_px", "area_cm2", "rle"]


@pytest.fixture(scope="module")
def model() -> BundleModel:
    return BundleModel(Predictor(bright()))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def assert_lies_on(mask: np.ndarray) -> None:
    assert mask.dtype == np.uint8 and (mask.astype(bool) ^ TRUTH).mean() < 0.03


@pytest.mark.parametrize("given", [IMAGE, IMAGE.astype(np.int64), IMAGE / 255, (IMAGE / 255).astype(np.float32)])
def test_array_gives_masks_of_its_shape(model: BundleModel, given: np.ndarray) -> None:
    one = model.predict(given)
    assert isinstance(one, np.ndarray) and one.shape == (48, 32)
    assert_lies_on(one)
    many = model.predict(np.stack([given] * 3), params={})
    assert isinstance(many, np.ndarray) and many.shape == (3, 48, 32)
    assert (many == one).all()


def test_list_of_arrays_of_any_sizes(model: BundleModel) -> None:
    masks = model.predict([IMAGE, IMAGE[:40]])
    assert [mask.shape for mask in masks] == [(48, 32), (40, 32)]
    assert_lies_on(masks[0])


def test_encoded_images_give_a_table(model: BundleModel) -> None:
    data = png(IMAGE)
    text = base64.b64encode(data).decode()
    column = pd.DataFrame({"case": ["a", "b"], "image": [text, data]})
    for given in (
        [data, text],
        column,
        column[["image"]],
        column[["image"]].rename(columns={"image": "x"}),
        np.array([data, text], object),
    ):
        table = model.predict(given)
        assert isinstance(table, pd.DataFrame) and list(table.columns) == TABLE and len(table) == 2
        assert table.area_cm2.isna().all() and table.present.all()
        assert_lies_on(decode_rle([table.rle[1]], (48, 32)))


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        (IMAGE[None, None], "give .images, height, width."),
        (IMAGE.astype(np.float32), "values from 20.0 to 220.0 .* floats in 0..1"),
        (IMAGE.astype(np.int16) - 100, "whole numbers lie in 0..255"),
        (np.full((4, 4), np.nan), "floats in 0..1"),
        (IMAGE.astype(complex), "an array of type complex128"),
        (["no base64!"], "image 0 is no base64 text"),
        ([b"no image"], "image 0: "),
        ([3], "image 0 is of type int"),
        (pd.DataFrame({"a": [1], "b": [2]}), "name the one that holds the images 'image'"),
        ("text", "an input of type str"),
    ],
)
def test_other_input_is_refused(model: BundleModel, given: object, finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        model.predict(given)


def test_unknown_parameters_are_refused(model: BundleModel) -> None:
    with pytest.raises(ValueError, match="this model takes none"):
        model.predict(IMAGE, {"threshold": 0.3})


@pytest.mark.filterwarnings("ignore:.*type hint is inferred as AnyType:UserWarning")
def test_mlflow_loads_it(tmp_path: Path) -> None:
    pyfunc = importlib.import_module("mlflow.pyfunc")
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(), tiny_network().state_dict())
    loader = "chestseg.inference.pyfunc"
    pyfunc.save_model(tmp_path / "model", loader_module=loader, data_path=str(bundle.folder), pip_requirements=["numpy"])
    loaded = pyfunc.load_model(str(tmp_path / "model"))
    assert loaded.predict(np.stack([IMAGE, IMAGE])).shape == (2, 48, 32)
    assert list(loaded.predict(pd.DataFrame({"image": [png(IMAGE)]})).columns) == TABLE
