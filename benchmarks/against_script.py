"""What the comparisons with a plain script on small real sets share: both sides' clocks and seeds, and the trainings' answers.

Minutes are of processor time, divided by the threads: other jobs on the machine then take nothing from either side. Where the CPU only
emulates bf16, the script is given fp32 too, which serves it better: its autocast takes 2.7 times as long on an AVX-512 CPU without bf16.
"""

import contextlib
import importlib.util
import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file

from chestseg.bundle import build_network
from chestseg.config import Experiment, Postprocessing, RadiographStage
from chestseg.inference.predictor import LiveModel
from chestseg.models.allocator import keep_freed_memory
from chestseg.models.precision import compute_dtype
from chestseg.preprocessing import Preprocessing
from chestseg.training.averaging import SNAPSHOTS, Snapshots
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter
from chestseg.training.run import train

P = ParamSpec("P")
T = TypeVar("T")
Weights = dict[str, torch.Tensor]


class Trained(NamedTuple):
    """What one training leaves: `averaged` is what the run gives out, `last` the last epoch's weights without SWA."""

    minutes: float
    averaged: Weights
    last: Weights


def train_timed(experiment: Experiment, dataset: Any, threads: int) -> Trained:
    """Train from the first weight to the averaged last one."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    with TemporaryDirectory() as folder:
        started = time.process_time()
        final = train(experiment, dataset, Group(), FolderReporter(Path(folder, "checkpoints")), Path(folder))
        minutes = (time.process_time() - started) / 60 / threads
        stage, epoch = len(experiment.stages) - 1, experiment.stages[-1].epochs - 1
        return Trained(minutes, load_file(final), Snapshots(Path(folder, SNAPSHOTS)).load(stage, epoch))


def ways(trained: Trained) -> list[tuple[str, Weights, bool]]:
    """Each way to score a training: the side's name, its weights, and whether it flips."""
    sides = (("", trained.averaged), ("no swa", trained.last))
    return [
        (", ".join(filter(None, [swa, "" if tta else "no tta"])) or "chestseg", weights, tta)
        for swa, weights in sides
        for tta in (True, False)
    ]


def live_radiographs(experiment: Experiment, weights: Weights, rule: Postprocessing) -> LiveModel:
    """A radiograph model's final weights as the predictor takes them."""
    last = experiment.stages[-1]
    assert isinstance(last, RadiographStage)
    return LiveModel(build_network(experiment.model, weights, where="trained"), Preprocessing(size=last.size), rule)


def apart(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function of a module in a new process, as whoever runs the plain script would: nothing of ours is set there."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments, **named).result()


def plain_script(path: Path, threads: int, seed: int, fold: int) -> Any:
    """The plain script as a module, its clock the processor's, its random states seeded by seed and fold."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    plain: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    torch.set_num_threads(threads)
    if compute_dtype("auto", torch.device("cpu")) == torch.float32:
        plain.torch.autocast = lambda *_, **__: contextlib.nullcontext()
    plain.time = SimpleNamespace(time=lambda: time.process_time() / threads)
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(1000 * seed + fold)
    return plain


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Results so far, a line each."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Keep a result."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(f"{row['side']}, seed {row['seed']}, fold {row['fold']}: {row['minutes']:.2f} min, dice {np.mean(row['dice']):.3f}", flush=True)
