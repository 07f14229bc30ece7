"""`chestseg demo`: the whole path on generated chests, from DICOM files to a registered model and its masks."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chestseg.cli import evaluate, phantoms, predict, prepare, train
from chestseg.config import Experiment, load_experiment
from chestseg.config.location import inside
from chestseg.distributed.cluster import attach

COUNT = {"siim": 240, "ricord": 24}
"""Phantoms to train on, by the layout they are written in."""
MASKS = {"siim": "png", "ricord": "nifti"}
"""Format of predicted masks, by layout."""
SEED = 1
SIZE = 1024
SHOWN = 8
UNSEEN_CTS = 3


def run(config_path: str, overrides: Sequence[str] = ()) -> int:
    """Generate, prepare, train, evaluate on the frozen test split and predict; what an earlier demo finished is not done again.

    Args:
        config_path: an experiment with one source in the layout of SIIM-ACR or of RICORD, whose path the phantoms are written to.
        overrides: `key=value` pairs on top of it.

    Raises:
        ValueError: the experiment's sources are not one `siim` or one `ricord`, or any step's own.
    """
    experiment = load_experiment(config_path, overrides)
    layout, chests = _phantom_folder(experiment)
    bundle = inside(experiment.run_folder, "bundle")
    unseen, masks = chests.parent / f"{layout}-unseen", str(chests.parent / f"{layout}-masks")
    steps: list[tuple[str, Callable[[], int]]] = [
        ("phantoms", lambda: _write_phantoms(layout, chests, unseen)),
        ("prepare", lambda: prepare.run(config_path, overrides)),
        ("train", lambda: train.run(config_path, overrides)),
        ("evaluate", lambda: evaluate.run(config_path, overrides, model=bundle, split="test")),
        ("predict", lambda: predict.run(_unseen(chests, unseen), bundle, masks, (MASKS[layout], "json", "overlay"))),
    ]
    took: dict[str, float] = {}
    with attach():
        for name, step in steps:
            print(f"\n== {name}", flush=True)
            started = time.monotonic()
            if code := step():
                return code
            took[name] = time.monotonic() - started
    _say_where(experiment, chests, bundle, masks, took)
    return 0


def _phantom_folder(experiment: Experiment) -> tuple[str, Path]:
    readers = [source.reader for source in experiment.data.sources]
    if len(readers) != 1 or readers[0] not in COUNT:
        raise ValueError(f"data.sources of readers {readers}: the demo writes phantoms to exactly one source with reader: siim or ricord")
    return readers[0], Path(experiment.data.sources[0].path)


def _write_phantoms(layout: str, chests: Path, unseen: Path) -> int:
    """The phantoms to train on, and CTs of others; SIIM-ACR's layout brings its own that no table names."""
    if not chests.exists() and (code := phantoms.run(str(chests), COUNT[layout], SEED, SIZE, layout)):
        return code
    return 0 if layout == "siim" or unseen.exists() else phantoms.run(str(unseen), UNSEEN_CTS, SEED + 1, SIZE, "nifti")


def _unseen(chests: Path, unseen: Path) -> list[str]:
    """Phantoms no step before has seen."""
    return [str(path) for path in sorted([*chests.glob("dicom-images-test/**/*.dcm"), *unseen.glob("images/*")])[:SHOWN]]


def _say_where(experiment: Experiment, chests: Path, bundle: str, masks: str, took: dict[str, float]) -> None:
    mlflow = os.path.relpath(Path(sys.executable).parent / "mlflow")
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items())
    print(
        f"\n== done in {sum(took.values()):.0f} s: {times}\n"
        f"phantoms     {chests}\n"
        f"prepared     {experiment.data.prepared}\n"
        f"bundle       {bundle}\n"
        f"masks        {masks}\n"
        f"MLflow       {mlflow} ui --host 127.0.0.1 --backend-store-uri {experiment.tracking.uri}"
    )
