"""The CT path on a real cluster: a RICORD tree in, a registered model out, new scans segmented on their own grid."""

import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import load_bundle
from chestseg.cli import main
from chestseg.config import load_experiment
from chestseg.inference.golden import check_golden
from chestseg.nifti import read_nifti, read_nifti_labels, write_nifti
from chestseg.phantoms.ct.files import write_ct_series
from chestseg.phantoms.ct.ricord import write_ricord

pytestmark = pytest.mark.ray

SHAPE, SPACING = (14, 64, 64), (16.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, cluster) -> Path:
    """Phantoms prepared and a two-stage experiment of seconds trained on them."""
    folder = tmp_path_factory.mktemp("ct")
    write_ricord(folder / "ricord", 10, seed=1, shape=SHAPE, spacing=SPACING, positive_share=1)
    coarse, fine = [16.0, 10.0, 10.0], [16.0, 5.0, 5.0]
    tree = {
        "name": "ct-job",
        "track": "ct",
        "data": {
            "sources": [{"reader": "ricord", "path": str(folder / "ricord")}],
            "prepared": str(folder / "prepared"), "spacings": [coarse, fine], "folds": 2, "test_share": 0.25,
        },
        "model": {"architecture": "slice_unet", "encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4]},
        "stages": [
            {"spacing": coarse, "patch": [4, 32, 32], "epochs": 1, "batch": 4, "cases_per_epoch": 8},
            {"spacing": fine, "patch": [4, 32, 32], "epochs": 2, "batch": 4, "cases_per_epoch": 8, "swa": {"last": 2}},
        ],
        "training": {"precision": "fp32"},
        "postprocessing": {"threshold": 0.3, "min_lesion_ml": 0.5},
        "storage": str(folder / "runs"),
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "ct-job"},
    }  # fmt: skip
    path = folder / "job.yaml"
    path.write_text("# Made by a test.\n" + yaml.safe_dump(tree))
    assert main(["prepare", str(path)]) == 0
    assert main(["train", str(path)]) == 0
    return path


def test_the_model_is_registered_with_its_scores(config: Path) -> None:
    experiment = load_experiment(config)
    client = MlflowClient(experiment.tracking.uri)
    version = client.get_model_version_by_alias("ct-covid-infiltrate", "candidate")
    assert version.tags["split"] == "test"
    bundle = load_bundle(f"{experiment.run_folder}/bundle")
    assert bundle.spec.labels == ("infiltrate",)
    assert {"test_mean_dice", "validation_dice_positives", "test_nsd", "test_absolute_volume_error_ml"} <= set(bundle.spec.metrics)
    assert check_golden(bundle) < 1e-3


def test_each_stage_is_a_run_named_after_its_resolution(config: Path) -> None:
    client = MlflowClient(load_experiment(config).tracking.uri)
    home = client.get_experiment_by_name("ct-job")
    assert home is not None
    names = {run.info.run_name for run in client.search_runs([home.experiment_id])}
    assert "ct-job stage 2: 16 x 5 x 5 mm, patches 4 x 32 x 32" in names


def test_a_series_its_nifti_and_its_zip_are_given_the_same_mask(config: Path, tmp_path: Path) -> None:
    phantom = write_ct_series(tmp_path / "series", 77, SHAPE, SPACING)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as packed:
        for file in sorted((tmp_path / "series").iterdir()):
            packed.write(file, f"study/{file.name}")
    # Another order and sense of axes, as a sagittal reconstruction is stored: the same voxels in the patient.
    turned = Volume(np.ascontiguousarray(phantom.volume.values.transpose(2, 0, 1)[::-1]), _turned_grid(phantom.volume))
    write_nifti(tmp_path / "turned.nii.gz", turned)
    bundle = f"{load_experiment(config).run_folder}/bundle"
    places = [str(tmp_path / name) for name in ("series", "scan.zip", "turned.nii.gz")]
    assert main(["predict", *places, "--model", bundle, "--output", str(tmp_path / "out"), "--format", "nifti,json,overlay"]) == 0
    masks = {name: read_nifti_labels(tmp_path / "out" / "masks" / f"{name}.nii.gz") for name in ("series", "scan", "turned")}
    assert masks["turned"].grid.matches(read_nifti(tmp_path / "turned.nii.gz").grid, 1e-6)
    whole = masks["series"].canonical().values
    assert whole.shape == SHAPE
    for mask in masks.values():
        assert np.array_equal(mask.canonical().values, whole)


def _turned_grid(volume: Volume) -> Grid:
    affine = volume.grid.affine[:, [2, 0, 1, 3]].copy()
    columns = volume.values.shape[2]
    affine[:, 3] += affine[:, 0] * (columns - 1)
    affine[:, 0] *= -1
    return Grid((columns, *volume.values.shape[:2]), affine)


def test_evaluation_of_the_test_split_repeats_the_runs_scores(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(config), "--split", "test"]) == 0
    printed = capsys.readouterr().out
    bundle = load_bundle(f"{load_experiment(config).run_folder}/bundle")
    assert "HD95 mm" in printed and f"{bundle.spec.metrics['test_mean_dice']:.4f}" in printed


def test_the_registered_model_segments_through_mlflow(config: Path, tmp_path: Path) -> None:
    experiment = load_experiment(config)
    mlflow.set_tracking_uri(experiment.tracking.uri)
    model = mlflow.pyfunc.load_model("models:/ct-covid-infiltrate@candidate")
    phantom = write_ct_series(tmp_path / "series", 78, SHAPE, SPACING)
    write_nifti(tmp_path / "scan.nii.gz", phantom.volume)
    found = model.predict([str(tmp_path / "scan.nii.gz")])
    assert len(found) == 1


def test_a_model_of_volumes_says_so_of_radiographs(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "chest.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    bundle = f"{load_experiment(config).run_folder}/bundle"
    assert main(["predict", str(picture), "--model", bundle, "--output", str(tmp_path / "out")]) == 1
    assert "chest.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
