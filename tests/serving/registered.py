"""Tiny bundles as versions of a registered model, and the alias that serving watches."""

import shutil
from pathlib import Path

from mlflow import MlflowClient

from chestseg.bundle import Bundle
from chestseg.config import Tracking
from chestseg.tracking.promotion import CHAMPION
from chestseg.tracking.runs import open_run
from tests.tracking.conftest import small_experiment

MODEL = "cxr-tiny"
REFERENCE = f"models:/{MODEL}@{CHAMPION}"


def register(bundle: Bundle, uri: str, folder: Path) -> str:
    """The bundle as a further version, under the alias `candidate`."""
    experiment = small_experiment(Tracking(uri=uri, experiment="serving", model=MODEL))
    run = open_run(experiment.tracking, folder, experiment, "0123abcd")
    shutil.copytree(bundle.folder, run.folder / "bundle")
    run.log_files(run.folder / "bundle", "bundle")
    version = run.register(run.folder / "bundle", MODEL, {"mean_dice": 0.8, "split": "test"})
    assert version
    return version


def move(client: MlflowClient, version: str, alias: str = CHAMPION) -> None:
    client.set_registered_model_alias(MODEL, alias, version)
