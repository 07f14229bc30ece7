"""`chestseg demo`: the whole path on generated chest radiographs, from DICOM files to a registered model and its masks."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chestseg.cli import evaluate, phantoms, predict, prepare, train
from chestseg.config import Experiment, load_experiment
from chestseg.distributed.cluster import attach

PHANTOMS = 240
SEED = 1
SIZE = 1024
SHOWN = 8


def run(config_path: str, overrides: Sequence[str] = ()) -> int:
    """Generate, prepare, train, evaluate on the frozen test split and predict; what an earlier demo finished is not done again.

    Args:
        config_path: an experiment with one source in the layout of SIIM-ACR, whose path the phantoms are written to.
        overrides: `key=value` pairs on top of it.

    Raises:
        ValueError: the experiment's sources are not one `siim`, or any step's own.
    """
    experiment = load_experiment(config_path, overrides)
    radiographs = _phantom_folder(experiment)
    bundle = str(evaluate.own_bundle(experiment))
    masks = str(radiographs.parent / "masks")
    steps: list[tuple[str, Callable[[], int]]] = [
        ("phantoms", lambda: 0 if radiographs.exists() else phantoms.run(str(radiographs), PHANTOMS, SEED, SIZE)),
        ("prepare", lambda: prepare.run(config_path, overrides)),
        ("train", lambda: train.run(config_path, overrides)),
        ("evaluate", lambda: evaluate.run(config_path, overrides, model=bundle, split="test")),
        ("predict", lambda: predict.run(_unlabelled(radiographs), bundle, masks, ("png", "json", "overlay"))),
    ]
    took: dict[str, float] = {}
    with attach():
        for name, step in steps:
            print(f"\n== {name}", flush=True)
            started = time.monotonic()
            if code := step():
                return code
            took[name] = time.monotonic() - started
    _say_where(experiment, radiographs, bundle, masks, took)
    return 0


def _phantom_folder(experiment: Experiment) -> Path:
    readers = [source.reader for source in experiment.data.sources]
    if readers != ["siim"]:
        raise ValueError(f"data.sources of readers {readers}: the demo writes phantoms to exactly one source with reader: siim")
    return Path(experiment.data.sources[0].path)


def _unlabelled(radiographs: Path) -> list[str]:
    """Phantoms no step before has seen."""
    return [str(path) for path in sorted(radiographs.glob("dicom-images-test/**/*.dcm"))[:SHOWN]]


def _say_where(experiment: Experiment, radiographs: Path, bundle: str, masks: str, took: dict[str, float]) -> None:
    mlflow = os.path.relpath(Path(sys.executable).parent / "mlflow")
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items())
    print(
        f"\n== done in {sum(took.values()):.0f} s: {times}\n"
        f"radiographs  {radiographs}\n"
        f"prepared     {experiment.data.prepared}\n"
        f"bundle       {bundle}\n"
        f"masks        {masks}\n"
        f"MLflow       {mlflow} ui --host 127.0.0.1 --backend-store-uri {experiment.tracking.uri}"
    )
