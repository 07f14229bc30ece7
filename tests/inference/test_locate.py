"""A model's name leads to a bundle's folder or to MLflow."""

from pathlib import Path

import pytest

from chestseg.bundle import save_bundle
from chestseg.inference.locate import open_bundle
from tests.inference.tiny import tiny_network, tiny_spec


def test_folder(tmp_path: Path) -> None:
    saved = save_bundle(tmp_path / "bundle", tiny_spec(), tiny_network().state_dict())
    assert open_bundle(str(tmp_path / "bundle")) == saved


def test_absence_names_both_forms(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder: give a bundle's folder or an MLflow URI such as models:/NAME@champion"):
        open_bundle(str(tmp_path / "absent"))


def test_uri_asks_mlflow() -> None:
    with pytest.raises(ValueError, match="models:/tiny: give models:/NAME@ALIAS"):
        open_bundle("models:/tiny", "sqlite:///unused.db")
