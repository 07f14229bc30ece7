"""Networks small or plain enough to reason about: a tiny U-Net with random weights, and one that segments what is bright."""

import torch
from torch import nn

from chestseg import __version__
from chestseg.bundle import BundleSpec
from chestseg.config import Model, Postprocessing, UNet2DModel
from chestseg.inference.predictor import LiveModel
from chestseg.models.logits import Logits
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter
from chestseg.preprocessing import Preprocessing

SIZE = 64
TINY = UNet2DModel(encoder="mobilenet_v2", weights="none", decoder_channels=(16, 16, 8, 8, 4))


def tiny_spec(model: Model = TINY, rule: Postprocessing | None = None, experiment: dict[str, object] | None = None) -> BundleSpec:
    return BundleSpec(
        name="tiny",
        track="cxr",
        code_version=__version__,
        model=model,
        preprocessing=Preprocessing(size=SIZE),
        postprocessing=rule or Postprocessing(),
        metrics={"mean_dice": 0.5},
        dataset_hash="0123456789abcdef",
        experiment=experiment or {},
    )


def tiny_network(model: Model = TINY, seed: int = 0) -> Segmenter:
    """Random weights whose batch norms have seen noise, so that its maps are neither flat nor saturated."""
    torch.manual_seed(seed)
    network = build_model(model, pretrained=False).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 1, SIZE, SIZE))
    return network.eval()


class Brightness(Segmenter):
    """Probability grows with the pixel's grey value and is 0.5 at the preprocessing's mean, 114.5; `disease` is fixed."""

    def __init__(self, disease: float | None = None) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.disease = disease

    @property
    def encoder(self) -> nn.Module:
        return self

    def forward(self, images: torch.Tensor) -> Logits:
        disease = None if self.disease is None else torch.tensor(self.disease).logit().expand(len(images))
        return Logits(images * self.gain, disease)


def bright(rule: Postprocessing | None = None, disease: float | None = None, size: int = SIZE) -> LiveModel:
    return LiveModel(Brightness(disease), Preprocessing(size=size), rule or Postprocessing())
