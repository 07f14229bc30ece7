"""Small trainings with a tail of six epochs, in both tracks."""

from pathlib import Path
from typing import Any

from chestseg.config import Experiment
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter, Report
from chestseg.training.run import train
from tests.training.arrays_in_memory import ArraysInMemory, small_experiment
from tests.training.volumes_in_memory import COARSE, VolumesInMemory, small_ct_experiment

TAIL = 6
DATASETS: dict[str, Any] = {"cxr": ArraysInMemory, "ct": VolumesInMemory}


def tailed(track: str, swa: dict[str, Any] | None, **stage: object) -> Experiment:
    """One stage of seven epochs, the last six at a constant rate."""
    swa = None if swa is None else {"tail": TAIL, "lr": 0.0005, "batch_norm_batches": 3, **swa}
    whole = {"epochs": 7, "batch": 4, "micro_batch": 2, "validate_every": 7, "swa": swa, **stage}
    if track == "cxr":
        return small_experiment(stages=[{"size": 32, **whole}])
    return small_ct_experiment(stages=[{"spacing": COARSE, "patch": [2, 32, 32], "cases_per_epoch": 8, "positives": 0.75, **whole}])


def trained(experiment: Experiment, folder: Path) -> tuple[Path, list[Report]]:
    """Train on the track's cases in memory; the final weights, and what was reported."""
    reporter = FolderReporter(folder / "checkpoints")
    return train(experiment, DATASETS[experiment.track](), Group(), reporter, folder), reporter.reports
