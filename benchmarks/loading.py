"""Loading images/s: prepared arrays against decoding DICOM in every epoch, alone and inside a training loop.

    python -m benchmarks.loading [--folder /tmp/chestseg-benchmark] [--images 64] [--repeats 5]

Asked of the loader alone: at least 5x. Inside a CPU training loop the network's own time hides most of it; that ratio is reported.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from benchmarks.phantom_data import phantom_dataset, phantom_experiment
from benchmarks.sides import in_turn, table

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.config import Experiment
from chestseg.data.cases import CaseSource
from chestseg.data.loader import CaseArrays, EpochBatches, micro_batches
from chestseg.data.readers import list_cases
from chestseg.data.sampling import EpochPlan
from chestseg.models.registry import build_model
from chestseg.preprocessing import Preprocessing
from chestseg.training.engine import Engine
from chestseg.training.group import Group


class DecodedEachTime:
    """What training would read without a prepared dataset: the DICOM file and its run-length mask, at every access."""

    def __init__(self, cases: list[CaseSource]) -> None:
        self.cases = cases
        self.last: tuple[int, np.ndarray, np.ndarray] | None = None

    def image(self, index: int, size: int) -> np.ndarray:
        """Decode the case and keep its mask for the call that follows."""
        case = self.cases[index].read()
        self.last = index, case.pixels, case.mask
        return resize_image(case.pixels, size)

    def mask(self, index: int, size: int) -> np.ndarray:
        """Mask of the case whose image was just asked for."""
        assert self.last is not None and self.last[0] == index
        return resize_mask(self.last[2], size)


def loader_alone(arrays: CaseArrays, plan: EpochPlan, size: int) -> float:
    """Images/s of an epoch without augmentation."""
    start = time.perf_counter()
    count = sum(len(batch.images) for batch in micro_batches(EpochBatches(arrays, plan, size, 0.0, (0,))))
    return count / (time.perf_counter() - start)


def inside_training(arrays: CaseArrays, plan: EpochPlan, experiment: Experiment) -> float:
    """Images/s of an epoch that trains."""
    stage = experiment.stages[0]
    engine = Engine(build_model(experiment.model), stage, experiment.training, Preprocessing(size=stage.size), Group(), (0, 0))
    start = time.perf_counter()
    batches = micro_batches(EpochBatches(arrays, plan, stage.size, stage.augmentation, (0,)))
    steps = sum(1 for _ in engine.epoch(batches, plan.steps, 0))
    return steps * stage.batch / (time.perf_counter() - start)


def main() -> None:
    """Measure both ways, alone and inside training, at 256 pixels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark"))
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    told = parser.parse_args()
    dataset = phantom_dataset(told.folder, count=96)
    experiment = phantom_experiment(told.folder, [{"size": 256, "epochs": 1, "batch": 4}])
    listed = {case.case_id: case for case in list_cases(experiment.data.sources).cases}
    decoded = DecodedEachTime([listed[case_id] for case_id in dataset.case_ids])
    order = np.random.default_rng(0).permutation(len(dataset))[: told.images // 4 * 4]
    plan = EpochPlan(order.reshape(-1, 1, 4))
    torch.set_num_threads(2)
    sides = {"decoding DICOM": lambda: loader_alone(decoded, plan, 256), "prepared arrays": lambda: loader_alone(dataset, plan, 256)}
    print("\nLoader alone, 256 px, one thread")
    print(table(in_turn(sides, told.repeats), "images/s", "decoding DICOM"), flush=True)
    short = EpochPlan(plan.cases[:4])
    sides = {
        "decoding DICOM": lambda: inside_training(decoded, short, experiment),
        "prepared arrays": lambda: inside_training(dataset, short, experiment),
    }
    print("\nInside training, ResNet-34 U-Net, 256 px, batch 4")
    print(table(in_turn(sides, told.repeats), "images/s", "decoding DICOM"), flush=True)


if __name__ == "__main__":
    main()
