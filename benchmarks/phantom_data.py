"""Generated radiographs for benchmarks: written as SIIM-ACR and prepared once, in a folder that later runs use again."""

from pathlib import Path

from chestseg.config import CxrExperiment, Experiment, parse
from chestseg.data.prepared import PreparedDataset
from chestseg.phantoms.radiograph.siim import write_siim


def phantom_experiment(folder: Path, stages: list[dict[str, object]], **more: object) -> Experiment:
    """An experiment over the folder's phantoms, ResNet-34 from scratch, tracked in the folder."""
    tree = {
        "name": "benchmark",
        "data": {"sources": [{"reader": "siim", "path": str(folder / "siim")}], "prepared": str(folder / "prepared"), "sizes": [256, 512]},
        "model": {"encoder": "resnet34", "weights": "none"},
        "stages": stages,
        "storage": str(folder / "runs"),
        "tracking": {"uri": f"sqlite:///{folder.absolute()}/mlflow.db", "model": None},
    }
    return parse(CxrExperiment, {**tree, **more}, "benchmark")


def phantom_dataset(folder: Path, count: int) -> PreparedDataset:
    """Write and prepare `count` phantoms of 1024 pixels in `folder`, unless they are there."""
    from chestseg.distributed.cluster import attach
    from chestseg.distributed.prepare import prepare

    if not (folder / "siim").exists():
        write_siim(folder / "siim", count, seed=0)
    experiment = phantom_experiment(folder, [{"size": 256, "epochs": 1}])
    if not (folder / "prepared" / "prepared.json").exists():
        with attach():
            prepare(experiment.data)
    return PreparedDataset.open(folder / "prepared")
