"""Seconds of a training step and of an answer, measured on the engine itself."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from chestseg.config import Experiment, Stage
from chestseg.data.examples import examples_of
from chestseg.data.loader import EpochBatches, micro_batches
from chestseg.data.sampling import EpochPlan, Sampler
from chestseg.models.registry import build_model
from chestseg.preprocessing import preprocessing_of
from chestseg.training.engine import Engine
from chestseg.training.group import Group
from chestseg.training.stage import Cases
from chestseg.tuning.flops import shape_of

WARM = 2
"""Steps before the clock counts: memory is allocated and kernels are chosen in them."""
TIMED = 4


def step_seconds(experiment: Experiment, stage: Stage, cases: Cases, device: torch.device) -> float:
    """Of one image or patch in a training step, the time it is waited for included: the median of a few steps of one micro-batch each."""
    micro = stage.model_copy(update={"batch": stage.images_per_micro_batch})
    engine = _engine(experiment, micro, device)
    sampler = Sampler(cases.training, cases.positive, micro, 0, experiment.seed)
    epochs = [sampler.epoch(epoch).cases for epoch in range(-(-(WARM + TIMED) // sampler.steps))]
    plan = EpochPlan(np.concatenate(epochs)[: WARM + TIMED])
    batches = EpochBatches(examples_of(cases.arrays, micro), plan, (experiment.seed, 0, 0))
    loaded = micro_batches(batches, processes=experiment.training.loader_workers, pin=device.type == "cuda")
    clock = [time.perf_counter()]
    for _ in engine.epoch(loaded, plan.steps, 0):
        _settle(device)
        clock.append(time.perf_counter())
    return statistics.median(np.diff(clock)[WARM:]) / micro.batch


def answer_seconds(experiment: Experiment, stage: Stage, device: torch.device) -> float:
    """Of one image or patch in validation, in batches as validation has them, without reading it from disk."""
    engine = _engine(experiment, stage, device)
    engine.network.eval()
    images = torch.zeros(stage.images_per_micro_batch, 1, *shape_of(stage), dtype=torch.uint8)
    clock = [time.perf_counter()]
    with torch.inference_mode():
        for _ in range(WARM + TIMED):
            engine.logits(images).mask.cpu()
            clock.append(time.perf_counter())
    return statistics.median(np.diff(clock)[WARM:]) / len(images)


@contextmanager
def threads_set(threads: int) -> Iterator[None]:
    """As many PyTorch threads as a worker has, for the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _engine(experiment: Experiment, stage: Stage, device: torch.device) -> Engine:
    network = build_model(experiment.model, pretrained=False)
    preprocessing = preprocessing_of(stage, experiment.data)
    return Engine(network, stage, experiment.training, preprocessing, Group(device=device), (experiment.seed, 0))


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
