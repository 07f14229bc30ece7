"""Floating-point operations and size of a network, known from its shapes alone: no weights, no images, no arithmetic."""

from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from chestseg.config import Experiment, Model, RadiographStage, Spacing, Stage, Triple, VolumePostprocessing, VolumeStage
from chestseg.inference.sliding_window import window_corners
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter

BACKWARD = 2
"""Backward passes cost twice the forward: gradients of weights, and of activations."""
IMAGES = 2
"""Counted at once: batch norms in training refuse a single value a channel."""
REFERENCE_CHEST = (300.0, 350.0, 350.0)
"""Millimetres along slices, rows and columns of the volume that a CT model is asked about where models of different spacings and patches
are compared: about what a scan of an adult's lungs covers."""


def training_flops(experiment: Experiment, stage: Stage) -> float:
    """Of one image or patch in a training step: forward, backward, and once more forward where activations are computed again.

    A frozen encoder is passed forward once, whatever comes back.
    """
    # Only the heads of deep supervision are used in training alone; without them one count serves for both.
    deep = getattr(experiment.model, "deep_supervision", False)
    whole, encoder = _counted(experiment.model, shape_of(stage), deep)  # pyright: ignore[reportArgumentType]  (frozen records hash)
    frozen = encoder if "encoder" in stage.frozen else 0.0
    return frozen + (whole - frozen) * (1 + BACKWARD + experiment.training.recompute)


def forward_flops(experiment: Experiment, stage: Stage) -> float:
    """Of one image or patch in prediction, without test-time augmentation."""
    return _counted(experiment.model, shape_of(stage), False)[0]  # pyright: ignore[reportArgumentType]  (frozen records hash)


def answer_flops(experiment: Experiment) -> float:
    """Of the served model's whole answer, test-time augmentation and all: to one radiograph, or to a volume of REFERENCE_CHEST.

    A volume's patches are counted over all of it, though where there is no body or, with `lungs_only`, no lung, they are passed over.
    """
    last, rule = experiment.stages[-1], experiment.postprocessing
    answers = 1
    if isinstance(last, VolumeStage):
        assert isinstance(rule, VolumePostprocessing)
        answers = len(window_corners(voxels_of(REFERENCE_CHEST, last.spacing), last.patch, rule.overlap))
    return forward_flops(experiment, last) * answers * (1 + rule.flip_tta)


def voxels_of(size: Spacing, spacing: Spacing) -> Triple:
    """Voxels along slices, rows and columns of what is so large, in millimetres, at a spacing."""
    slices, rows, columns = (max(1, round(whole / each)) for whole, each in zip(size, spacing, strict=True))
    return slices, rows, columns


def weight_bytes(model: Model) -> int:
    """Of the network's file of weights."""
    tensors = _without_weights(model).state_dict().values()  # pyright: ignore[reportArgumentType]  (as above)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def shape_of(stage: Stage) -> tuple[int, ...]:
    """Spatial shape of what the network is shown in a stage."""
    match stage:
        case RadiographStage():
            return stage.size, stage.size
        case VolumeStage():
            return stage.patch
    raise AssertionError(type(stage))


@lru_cache(maxsize=1024)
def _counted(model: Model, shape: tuple[int, ...], training: bool) -> tuple[float, float]:
    """Forward, of one image: the whole network's and its encoder's."""
    network = _without_weights(model).train(training)  # pyright: ignore[reportArgumentType]  (as above)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.empty(IMAGES, 1, *shape, device="meta"))
    counts = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    encoder = next(name for name, module in network.named_modules() if module is network.encoder)
    within = _within(f"{type(network).__name__}.{encoder}", network.encoder, counts)
    return counter.get_total_flops() / IMAGES, within / IMAGES


def _within(name: str, module: nn.Module, counts: dict[str, int]) -> int:
    """Of a module, or of its parts where only they are called."""
    if name in counts:
        return counts[name]
    return sum(_within(f"{name}.{part}", child, counts) for part, child in module.named_children())


@lru_cache(maxsize=4)
def _without_weights(model: Model) -> Segmenter:
    with torch.device("meta"):
        return build_model(model, pretrained=False)
