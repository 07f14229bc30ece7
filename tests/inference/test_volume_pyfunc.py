"""What a user of `mlflow.pyfunc` may hand to a model of volumes, and what comes back."""

import base64
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import save_bundle
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.inference.volume_pyfunc import VolumeBundleModel
from chestseg.nifti import read_nifti, read_nifti_labels, write_nifti
from tests.inference.tiny_volume import PREPROCESSING, SPACING, band, chest, tiny_network, tiny_spec

HU, _, TRUTH = chest()
TABLE = ["slices", "rows", "columns", "probability", "present", "volume_ml", "lung_ml", "mask"]


@pytest.fixture(scope="module")
def model() -> VolumeBundleModel:
    return VolumeBundleModel(VolumePredictor(band()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "case.nii.gz", Volume(HU, Grid.upright(HU.shape, SPACING, (10, -20, 30))))  # type: ignore[arg-type]
    return tmp_path / "case.nii.gz"


@pytest.mark.parametrize("given", [HU, HU.astype(np.float32), HU.astype(np.int64), PREPROCESSING.to_uint8(HU)])
def test_array_gives_a_mask_of_its_shape(model: VolumeBundleModel, given: np.ndarray) -> None:
    mask = model.predict(given, {})
    assert isinstance(mask, np.ndarray) and mask.dtype == np.uint8 and (mask == TRUTH).all()


def test_files_give_a_table(model: VolumeBundleModel, file: Path) -> None:
    data = file.read_bytes()
    several = [str(file), file, data, base64.b64encode(data).decode()]
    for given in (str(file), file, data, several, pd.DataFrame({"case": range(4), "image": several})):
        table = model.predict(given)
        assert isinstance(table, pd.DataFrame) and list(table.columns) == TABLE
        assert len(table) == (4 if isinstance(given, (list, pd.DataFrame)) else 1)
        assert table.present.all() and (table.volume_ml == round(TRUTH.sum() * 0.064, 3)).all()
    mask, source = read_nifti_labels(table["mask"][0]), read_nifti(file)
    assert mask.grid.matches(source.grid, 1e-4) and (mask.values == TRUTH).all()


def test_files_that_cannot_be_hu_are_refused(model: VolumeBundleModel, file: Path) -> None:
    write_nifti(file, Volume(HU + 1024, Grid.upright(HU.shape, SPACING)))  # type: ignore[arg-type]
    for given, named in ((str(file), str(file)), (file.read_bytes(), "image 0")):
        with pytest.raises(ValueError, match=f"^{named}: values from 24 to 1064 are not HU"):
            model.predict(given)


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        (HU[0], "give finite numbers of .slices, rows, columns., 4, 4 and 4 mm apart"),
        (np.full((4, 4, 4), np.nan), "give finite numbers"),
        (HU.astype(complex), "type complex128"),
        (["no base64!"], "image 0 is no base64 text"),
        ([b"no image"], "image 0: "),
        ("missing.nii", "missing.nii: "),
        (3, "an input of type int"),
        (pd.DataFrame({"a": [1], "b": [2]}), "name the one that holds the images 'image'"),
    ],
)
def test_other_input_is_refused(model: VolumeBundleModel, given: object, finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        model.predict(given)


def test_unknown_parameters_are_refused(model: VolumeBundleModel) -> None:
    with pytest.raises(ValueError, match="this model takes none"):
        model.predict(HU, {"threshold": 0.3})


@pytest.mark.filterwarnings("ignore:.*type hint is inferred as AnyType:UserWarning")
def test_mlflow_loads_it(tmp_path: Path, file: Path) -> None:
    pyfunc = importlib.import_module("mlflow.pyfunc")
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(overlap=0), tiny_network().state_dict())
    loader = "chestseg.inference.pyfunc"
    pyfunc.save_model(tmp_path / "model", loader_module=loader, data_path=str(bundle.folder), pip_requirements=["numpy"])
    loaded = pyfunc.load_model(str(tmp_path / "model"))
    assert loaded.predict(HU).shape == HU.shape
    assert list(loaded.predict(str(file)).columns) == TABLE
