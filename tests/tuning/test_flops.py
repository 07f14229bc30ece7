"""FLOPs against a count by hand: every convolution and every matrix product, two operations a multiplication."""

import math

import pytest
import torch
from torch import nn

from chestseg.config import Experiment
from chestseg.models.registry import build_model
from chestseg.tuning.flops import REFERENCE_CHEST, answer_flops, forward_flops, training_flops, voxels_of, weight_bytes
from tests.training.arrays_in_memory import small_experiment
from tests.training.volumes_in_memory import small_ct_experiment

PLAIN = {"architecture": "conv_unet3d", "channels": [4, 8], "strides": [[1, 2, 2]]}


def test_two_levels_counted_on_paper() -> None:
    experiment = small_ct_experiment(model=PLAIN)
    fine = 4 * 32 * 32
    coarse = fine // 4
    kernels = fine * (1 * 4 + 4 * 4) * 27 + coarse * (4 * 8 + 8 * 8) * 27  # down
    kernels += coarse * 8 * 4 + fine * (8 * 4 + 4 * 4) * 27 + fine * 4  # narrowed, up, head
    assert forward_flops(experiment, experiment.stages[1]) == 2 * kernels
    assert training_flops(experiment, experiment.stages[1]) == 3 * 2 * kernels


def test_a_frozen_encoder_is_passed_once_and_recomputing_costs_a_forward_more() -> None:
    experiment = small_ct_experiment(model=PLAIN, training={"recompute": True})
    stage = experiment.stages[1].model_copy(update={"frozen": ("encoder",)})
    whole, encoder = forward_flops(experiment, stage), 2 * (4096 * 20 + 1024 * 96) * 27
    assert training_flops(experiment, experiment.stages[1]) == 4 * whole
    assert training_flops(experiment, stage) == encoder + 4 * (whole - encoder)


@pytest.mark.parametrize(
    "experiment",
    [
        small_experiment(),
        small_ct_experiment(),
        small_ct_experiment(model={"architecture": "unet3d", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4]}),
    ],
    ids=["unet2d", "slice_unet", "unet3d"],
)
def test_networks_count_as_their_layers_do(experiment: Experiment) -> None:
    stage = experiment.stages[0]
    network = build_model(experiment.model, pretrained=False).eval()
    counted = 0.0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(layer, nn.Linear):
            counted += 2 * output.numel() * layer.in_features
        elif isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            counted += 2 * output.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        elif isinstance(layer, nn.modules.conv._ConvTransposeNd):
            counted += 2 * inputs[0].numel() * layer.out_channels // layer.groups * math.prod(layer.kernel_size)

    for layer in network.modules():
        layer.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 1, *(stage.size,) * 2 if experiment.track == "cxr" else stage.patch))  # type: ignore[attr-defined]
    assert forward_flops(experiment, stage) == counted
    frozen = stage.model_copy(update={"frozen": ("encoder",)})
    assert counted < training_flops(experiment, frozen) < training_flops(experiment, stage) == 3 * counted


def test_the_size_of_the_weights() -> None:
    experiment = small_experiment()
    tensors = build_model(experiment.model, pretrained=False).state_dict().values()
    assert weight_bytes(experiment.model) == sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_a_volumes_answer_counts_every_patch_of_a_chest_of_the_same_size_in_millimetres() -> None:
    experiment = small_ct_experiment(model=PLAIN, postprocessing={"overlap": 0.0})
    fine = forward_flops(experiment, experiment.stages[1])
    assert voxels_of(REFERENCE_CHEST, (4.0, 1.0, 1.0)) == (75, 350, 350)
    assert answer_flops(experiment) == fine * 19 * 11 * 11  # patches of 4 x 32 x 32
    coarse = experiment.model_copy(update={"stages": experiment.stages[:1]})
    assert answer_flops(coarse) == forward_flops(experiment, experiment.stages[0]) * 38 * 6 * 6  # of 2 x 32 x 32 at twice the spacing
    mirrored = small_ct_experiment(model=PLAIN, postprocessing={"overlap": 0.5, "flip_tta": True})
    assert answer_flops(mirrored) == 2 * fine * 37 * 21 * 21


def test_a_radiographs_answer_is_one_image_and_its_mirror() -> None:
    experiment = small_experiment(postprocessing={"flip_tta": True})
    assert answer_flops(experiment) == 2 * forward_flops(experiment, experiment.stages[-1])
