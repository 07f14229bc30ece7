"""Generated chests for benchmarks: written and prepared once, in a folder that later runs use again."""

from pathlib import Path

from chestseg.config import CtExperiment, CxrExperiment, Experiment, parse
from chestseg.data.prepared import PreparedDataset
from chestseg.phantoms.ct.files import write_ct_nifti
from chestseg.phantoms.radiograph.siim import write_siim

CT_SPACING = [5.0, 2.0, 2.0]


def phantom_experiment(folder: Path, stages: list[dict[str, object]], **more: object) -> Experiment:
    """An experiment over the folder's radiographs, ResNet-34 from scratch, tracked in the folder."""
    data = {"sources": [{"reader": "siim", "path": str(folder / "siim")}], "prepared": str(folder / "prepared"), "sizes": [256, 512]}
    tree = {"name": "benchmark", "data": data, "model": {"encoder": "resnet34", "weights": "none"}, "stages": stages}
    return parse(CxrExperiment, {**tree, **_kept_in(folder), **more}, "benchmark")


def ct_phantom_experiment(folder: Path, stages: list[dict[str, object]], **more: object) -> Experiment:
    """An experiment over the folder's CTs, R3D-18 from scratch, tracked in the folder."""
    source = {"reader": "nifti_folder", "path": str(folder / "ct")}
    data = {"sources": [source], "prepared": str(folder / "prepared-ct"), "spacings": [CT_SPACING], "folds": 2, "test_share": 0}
    model = {"architecture": "unet3d", "encoder": "r3d_18", "weights": "none", "decoder_channels": [64, 64, 32, 16, 16]}
    tree = {"name": "benchmark-ct", "track": "ct", "data": data, "model": model, "stages": stages}
    return parse(CtExperiment, {**tree, **_kept_in(folder), **more}, "benchmark")


def _kept_in(folder: Path) -> dict[str, object]:
    return {"storage": str(folder / "runs"), "tracking": {"uri": f"sqlite:///{folder.absolute()}/mlflow.db", "model": None}}


def phantom_dataset(folder: Path, count: int) -> PreparedDataset:
    """Write and prepare `count` radiographs of 1024 pixels in `folder`, unless they are there."""
    if not (folder / "siim").exists():
        write_siim(folder / "siim", count, seed=0)
    return _prepared(phantom_experiment(folder, [{"size": 256, "epochs": 1}]))


def ct_phantom_dataset(folder: Path, count: int) -> PreparedDataset:
    """Write and prepare `count` CTs of 48 slices in `folder`, unless they are there."""
    if not (folder / "ct").exists():
        write_ct_nifti(folder / "ct", count, seed=0)
    return _prepared(ct_phantom_experiment(folder, [{"spacing": CT_SPACING, "patch": [8, 64, 64], "epochs": 1}]))


def _prepared(experiment: Experiment) -> PreparedDataset:
    from chestseg.distributed.cluster import attach
    from chestseg.distributed.prepare import prepare

    if not Path(experiment.data.prepared, "prepared.json").exists():
        with attach():
            prepare(experiment.data)
    return PreparedDataset.open(experiment.data.prepared)
