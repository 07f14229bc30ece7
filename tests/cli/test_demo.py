"""`chestseg demo` in small: every command after the other on generated radiographs."""

from pathlib import Path

import pytest

from chestseg.cli import demo, main

CONFIG = Path(__file__).parents[2] / "jobs" / "configs" / "cxr_demo.yaml"
SMALL = [
    "data.sizes=[32, 64]", "data.folds=2", "model.decoder_channels=[8, 8, 8, 8, 8]", "training.cpus_per_worker=1",
    "stages.0.size=32", "stages.0.epochs=1", "stages.0.batch=4",
    "stages.1.size=64", "stages.1.epochs=1", "stages.1.batch=4", "stages.1.swa.last=1",
]  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
def test_the_demo_leads_from_phantoms_to_masks(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(demo.COUNT, "siim", 24)
    monkeypatch.setattr(demo, "SIZE", 256)
    places = [f"data.sources.0.path={tmp_path}/siim", f"data.prepared={tmp_path}/prepared", f"storage={tmp_path}/runs"]
    overrides = [*SMALL, *places, f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"]
    assert main(["demo", str(CONFIG), *(f"--set={override}" for override in overrides)]) == 0
    assert "== done in" in capsys.readouterr().out
    unseen = {path.stem for path in (tmp_path / "siim" / "dicom-images-test").rglob("*.dcm")}
    assert unseen
    assert unseen <= {path.name.removesuffix(".png") for path in (tmp_path / "siim-masks").rglob("*.png")}


def test_the_demo_wants_one_source_of_siims_layout(capsys):
    assert main(["demo", str(CONFIG), "--set", "data.sources.0.reader=image_folder"]) == 2
    assert "reader: siim or ricord" in capsys.readouterr().err
