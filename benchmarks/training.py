"""Training images/s of the whole stack, one worker, against a bare PyTorch loop on arrays in memory.

    python -m benchmarks.training [--folder /tmp/chestseg-benchmark] [--sizes 256,512,ct] [--steps 6] [--repeats 5]

Size `ct` is patches of 8x64x64 of volumes and the R3D-18 U-Net, the others are radiographs and the ResNet-34 U-Net. Both sides have the
same precision, memory layout, batch, augmentation, loss, AdamW and threads, each in a process of its own. The stack is everything a
user's run goes through: Ray Train, the prepared dataset on disk, the loader, the engine with its statistics per micro-batch, reporting
and MLflow. Both count whole epochs after a first one that warms up. Asked: at least 0.95.
"""

import argparse
import functools
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.phantom_data import (
    CT_SPACING,
    ct_phantom_dataset,
    ct_phantom_experiment,
    phantom_dataset,
    phantom_experiment,
)
from benchmarks.sides import in_turn, table

from chestseg.config import Experiment

EPOCHS = 3


def experiment_at(folder: Path, size: str, steps: int, batch: int, threads: int) -> Experiment:
    """One stage at `size`, nothing validated, checkpoints only at its end."""
    stage: dict[str, object] = {"epochs": EPOCHS, "batch": batch, "cases_per_epoch": steps * batch, "validate_every": EPOCHS}
    training = {"cpus_per_worker": threads, "threads": threads, "checkpoint_every": 10**6}
    if size == "ct":
        return ct_phantom_experiment(folder, [stage | {"spacing": CT_SPACING, "patch": [8, 64, 64]}], training=training, fold="all")
    return phantom_experiment(folder, [stage | {"size": int(size)}], training=training, fold="all")


class InMemory:
    """The training cases of a prepared dataset at one stage's resolution."""

    def __init__(self, dataset: Any, stage: Any) -> None:
        self.resolution = getattr(stage, "size", None) or stage.spacing
        self.dataset, self.cases = dataset, [int(i) for i in dataset.indices("train")]
        self.arrays = {i: tuple(np.array(read(i, self.resolution)) for read in (dataset.image, dataset.mask)) for i in self.cases}

    def image(self, index: int, _: Any) -> np.ndarray:
        """uint8."""
        return self.arrays[index][0]

    def mask(self, index: int, _: Any) -> np.ndarray:
        """uint8 of 0 and 1."""
        return self.arrays[index][1]

    @functools.cache  # noqa: B019  (lives as long as the measurement)
    def foreground(self, index: int, _: Any) -> np.ndarray:
        """Positions of the mask."""
        return self.dataset.foreground(index, self.resolution)


def whole_stack(experiment: Experiment) -> float:
    """Images/s from the end of the first epoch to that of the last, by the times at which rank 0 recorded them."""
    from chestseg.data.prepared import PreparedDataset
    from chestseg.distributed.train import fit
    from chestseg.tracking.journal import Journal, Metric, read_entries
    from chestseg.tracking.runs import open_run

    folder = Path(experiment.run_folder)
    shutil.rmtree(folder, ignore_errors=True)
    dataset = PreparedDataset.open(experiment.data.prepared)
    with open_run(experiment.tracking, folder, experiment, dataset.hash) as run:
        fit(experiment, run)
    ends = [e.time for e, _ in read_entries(Journal(folder).path) if isinstance(e, Metric) and e.key == "loss"]
    stage = experiment.stages[0]
    return (EPOCHS - 1) * (stage.cases_per_epoch or 0) / ((ends[-1] - ends[0]) / 1000)


def bare_loop(experiment: Experiment) -> float:
    """Images/s of a loop as a user would write it, arrays in memory at the stage's resolution."""
    from chestseg.data.examples import examples_of
    from chestseg.data.prepared import PreparedDataset
    from chestseg.models.precision import autocast, compute_dtype
    from chestseg.models.registry import build_model

    stage, training = experiment.stages[0], experiment.training
    torch.set_num_threads(training.threads or 1)
    arrays = InMemory(PreparedDataset.open(experiment.data.prepared), stage)
    examples = examples_of(arrays, stage)
    network = build_model(experiment.model)
    network = network.to(memory_format=network.layout).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), stage.optimiser.lr, weight_decay=stage.optimiser.weight_decay, fused=True)
    draw, device = np.random.default_rng(0), torch.device("cpu")
    dtype = compute_dtype(training.precision, device)
    steps = (stage.cases_per_epoch or 1) // stage.batch
    start = 0.0
    for step in range(steps * EPOCHS):
        if step == steps:
            start = time.perf_counter()
        pairs = [examples(arrays.cases[i], int(draw.integers(2**31))) for i in draw.integers(len(arrays.cases), size=stage.batch)]
        x = torch.from_numpy(np.stack([p[0] for p in pairs]))[:, None].float().div_(255).sub_(0.449).div_(0.226)
        y = torch.from_numpy(np.stack([p[1] for p in pairs]))[:, None].float()
        with autocast(device, dtype):
            logits = network(x).mask
        logits = logits.float()
        probability = logits.sigmoid()
        dice = 1 - (2 * (probability * y).sum() + 1) / (probability.sum() + y.sum() + 1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y) + dice
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (EPOCHS - 1) * steps * stage.batch / (time.perf_counter() - start)


def in_own_process(side: str, arguments: list[str]) -> float:
    """Run this file again for one side and read its figure."""
    answer = subprocess.run([sys.executable, "-m", "benchmarks.training", "--side", side, *arguments], capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(answer.stderr[-2000:])
    return float(answer.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure, or be one side of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark"))
    parser.add_argument("--sizes", default="256,512")
    parser.add_argument("--steps", type=int, default=6, help="optimiser steps an epoch")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", choices=("stack", "bare"))
    told = parser.parse_args()
    if told.side:
        experiment = experiment_at(told.folder, told.sizes, told.steps, told.batch, told.threads)
        if told.side == "bare":
            print(bare_loop(experiment))
            return
        from chestseg.distributed.cluster import attach

        with attach():
            print(whole_stack(experiment))
        return
    for size in told.sizes.split(","):
        _ = ct_phantom_dataset(told.folder, count=8) if size == "ct" else phantom_dataset(told.folder, count=96)
        arguments = ["--folder", str(told.folder), "--sizes", size, "--steps", str(told.steps)]
        arguments += ["--batch", str(told.batch), "--threads", str(told.threads)]
        sides = {"bare loop": lambda a=arguments: in_own_process("bare", a), "whole stack": lambda a=arguments: in_own_process("stack", a)}
        print(f"\nTraining at {size}{' px' * size.isdigit()}, batch {told.batch}, {told.threads} threads")
        print(table(in_turn(sides, told.repeats), "images/s", "bare loop"), flush=True)


if __name__ == "__main__":
    main()
