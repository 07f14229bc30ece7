"""A step of the engine with networks whose parts are not all alike."""

import pytest
import torch

from chestseg.data.loader import MicroBatch
from chestseg.models.registry import build_model
from chestseg.preprocessing import Normalisation
from chestseg.training.engine import Engine
from chestseg.training.group import Group
from tests.training.volumes_in_memory import small_ct_experiment

PLAIN = {"architecture": "conv_unet3d", "channels": [4, 8], "strides": [[1, 2, 2]]}


def step_without_batch_norm(device: torch.device) -> tuple[Engine, torch.Tensor]:
    experiment = small_ct_experiment(model=PLAIN)
    stage = experiment.stages[0]
    engine = Engine(build_model(experiment.model), stage, experiment.training, Normalisation(), Group(device=device), (1,))
    image = torch.randint(0, 255, (2, 1, 2, 16, 16), dtype=torch.uint8)
    batches = [MicroBatch(0, number, image, image // 128) for number in range(stage.micro_batches)]
    return engine, next(engine.epoch(iter(batches), 1, 0))


def test_a_network_without_batch_norm_takes_a_step() -> None:
    engine, losses = step_without_batch_norm(torch.device("cpu"))
    assert losses.isfinite().all() and engine.gradient.flat.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_without_batch_norm_takes_a_step_on_a_gpu() -> None:
    engine, losses = step_without_batch_norm(torch.device("cuda"))
    assert losses.isfinite().all() and engine.gradient.flat.any()
