"""How far training scales, on paper: 1 to 64 GPUs at 512 and 1024 pixels, from constants measured here and those that need a GPU assumed.

    python -m benchmarks.scaling_model [--tflops 250] [--gbytes 25] [--latency 20] [--cores 8] [--repeats 5]

Measured on this machine: what loading and augmenting an image costs a core, the bytes of gradient and checkpoint, and how long a
checkpoint takes to be whole and synced on this disk. Counted: floating-point operations of an image. Assumed, since no GPU is here: what
a GPU sustains in bf16, the network between nodes, and a processor core of the same speed beside the GPUs.

A step of N workers, each with one micro-batch or with `--micro-batches` of them: the larger of computing and loading, then the exchange of
the whole gradient, which the engine does not overlap with the backward pass: 2 (N - 1) / N of its bytes, and a latency for each of the
2 (N - 1) hops of a ring. Rank 0 writes a checkpoint every `training.checkpoint_every` steps while the others wait. Images are augmented by
as many cores as a GPU has.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from chestseg.config import Experiment, RadiographStage, load_experiment
from chestseg.data.examples import RadiographExamples
from chestseg.files import whole_folder
from chestseg.models.registry import build_model
from chestseg.training.checkpoint import Checkpoint, Progress
from chestseg.tuning.flops import training_flops

CONFIG = "jobs/configs/cxr_best.yaml"
GPUS = (1, 8, 16, 32, 64)
IMAGES, CASES = 24, 10_842
"""Measured at once; training images of the whole SIIM-ACR set less a tenth for tests."""


class Constants(NamedTuple):
    """Of one resolution."""

    flops: float
    """Of one image, forward and backward."""
    load: float
    """Seconds of a core for one image."""
    gradient: int
    """Bytes."""
    checkpoint: int
    """Bytes."""
    save: float
    """Seconds."""


class FromMemory:
    """A radiograph's arrays; which ones does not change what augmentation costs."""

    def __init__(self, size: int) -> None:
        draw = np.random.default_rng(0)
        self.pixels = cv2.GaussianBlur(draw.integers(0, 256, (size, size), dtype=np.uint8), (0, 0), size / 64)
        self.positive = (self.pixels > np.percentile(self.pixels, 97)).astype(np.uint8)

    def image(self, index: int, size: int) -> np.ndarray:
        """uint8."""
        return self.pixels.copy()

    def mask(self, index: int, size: int) -> np.ndarray:
        """uint8, 0 and 1."""
        return self.positive.copy()


def seconds_to_load(stage: RadiographStage, repeats: int) -> float:
    """Of one core for an image, augmentation included; the median of the repeats' means."""
    cv2.setNumThreads(1)
    examples = RadiographExamples(FromMemory(stage.size), stage)
    rounds = []
    for round_ in range(repeats):
        start = time.process_time()
        for index in range(IMAGES):
            examples(index, round_ * IMAGES + index)
        rounds.append((time.process_time() - start) / IMAGES)
    return statistics.median(rounds)


def checkpoint_cost(experiment: Experiment, repeats: int) -> tuple[int, int, float]:
    """Bytes of a gradient and of a checkpoint, and the seconds it takes to write one, by the clock."""
    network = build_model(experiment.model, pretrained=False)
    optimiser = {f"{n}.{key}": torch.zeros_like(p) for n, p in enumerate(network.parameters()) for key in ("exp_avg", "exp_avg_sq")}
    checkpoint = Checkpoint(network.state_dict(), optimiser, Progress(), "")
    took, size = [], 0
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for place in range(repeats):
            start = time.perf_counter()
            with whole_folder(Path(folder, str(place))) as own:
                checkpoint.save(own)
            took.append(time.perf_counter() - start)
            size = sum(file.stat().st_size for file in Path(folder, str(place)).iterdir())
    return sum(p.numel() * 4 for p in network.parameters()), size, statistics.median(took)


def step_seconds(constants: Constants, images: int, gpus: int, every: int, told: argparse.Namespace) -> dict[str, float]:
    """Where the time of a step goes, so many images on each GPU."""
    compute = images * constants.flops / (told.tflops * 1e12)
    load = images * constants.load / told.cores
    exchange = 2 * (gpus - 1) / gpus * constants.gradient / (told.gbytes * 1e9) + 2 * (gpus - 1) * told.latency * 1e-6
    return {"compute": compute, "waits to load": max(0.0, load - compute), "exchange": exchange, "checkpoints": constants.save / every}


def print_table(images: int, constants: Constants, every: int, told: argparse.Namespace) -> None:
    """Markdown: a row for each number of GPUs."""
    parts = step_seconds(constants, images, 1, every, told)
    columns = ["GPUs", "global batch", *(f"{name}, ms a step" for name in parts), "images/s", "of linear", "steps an epoch"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    one = sum(parts.values())
    for gpus in GPUS:
        parts = step_seconds(constants, images, gpus, every, told)
        seconds, batch = sum(parts.values()), gpus * images
        shown = " | ".join(f"{part * 1000:.1f}" for part in parts.values())
        print(f"| {gpus} | {batch} | {shown} | {batch / seconds:,.0f} | {one / seconds:.2f} | {CASES // batch} |", flush=True)


def main() -> None:
    """Measure the constants and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=250, help="what a GPU sustains, 10^12 a second")
    parser.add_argument("--gbytes", type=float, default=25, help="of a GPU's link to the others, 10^9 bytes a second")
    parser.add_argument("--latency", type=float, default=20, help="of a hop, microseconds")
    parser.add_argument("--cores", type=float, default=8, help="that load for each GPU")
    parser.add_argument("--micro-batches", default="1,4", help="of a worker in a step; a table for each")
    parser.add_argument("--repeats", type=int, default=5)
    told = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_experiment(CONFIG)
    gradient, size, save = checkpoint_cost(experiment, told.repeats)
    print(f"gradient {gradient / 1e6:.1f} MB, checkpoint {size / 1e6:.0f} MB, whole on disk after {save:.2f} s")
    for stage in experiment.stages:
        assert isinstance(stage, RadiographStage)
        constants = Constants(training_flops(experiment, stage), seconds_to_load(stage, told.repeats), gradient, size, save)
        for count in map(int, told.micro_batches.split(",")):
            images = count * (stage.micro_batch or stage.batch)
            print(f"\n{stage.size} px, {images} images of a worker in a step: {constants.flops / 1e9:.0f} GFLOP", end="")
            print(f" and {constants.load * 1000:.1f} ms of a core for each")
            print_table(images, constants, experiment.training.checkpoint_every, told)


if __name__ == "__main__":
    main()
