"""What the tests of volumes share: a chest of boxes in HU, a network that finds what is dense in the lungs, and a small real one."""

import numpy as np
import torch
from torch import nn

from chestseg import __version__
from chestseg.bundle import BundleSpec
from chestseg.config import SliceUNetModel, VolumePostprocessing
from chestseg.inference.predictor import LiveModel
from chestseg.models.logits import Logits
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter
from chestseg.preprocessing import VolumePreprocessing

SPACING = (4.0, 4.0, 4.0)
WINDOW = (-1000.0, 400.0)
PREPROCESSING = VolumePreprocessing(spacing=SPACING, window=WINDOW, patch=(8, 32, 32))
TINY = SliceUNetModel(encoder="mobilenet_v2", weights="none", decoder_channels=(16, 16, 8, 8, 4))
AIR, LUNG, INFILTRATE, TISSUE = -1000, -850, -200, 40


def chest(scale: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU int16 (D, H, W), canonical, of 40 cells of 4 mm divided by `scale`, with masks of lungs and of infiltrates.

    A body with two lungs; one infiltrate at the pleura of each lung, of different sizes; no two sides look the same.
    """
    hu = np.full((32, 40, 60), AIR, np.int16)
    hu[:, 5:35, 6:54] = TISSUE
    lungs, infiltrates = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    lungs[12:28, 10:30, 10:26] = lungs[14:30, 12:30, 34:50] = True
    infiltrates[14:18, 22:30, 10:18] = infiltrates[20:28, 12:17, 45:50] = True
    hu[lungs] = LUNG
    hu[infiltrates] = INFILTRATE
    return tuple(a.repeat(scale, 0).repeat(scale, 1).repeat(scale, 2) for a in (hu, lungs, infiltrates))  # type: ignore[return-value]


class Band(Segmenter):
    """High logits for grey levels of infiltrates, between lung and tissue, wherever they are."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(40.0))

    @property
    def encoder(self) -> nn.Module:
        return self

    def forward(self, images: torch.Tensor) -> Logits:
        middle = PREPROCESSING.normalise(torch.tensor(146.0))
        return Logits(self.gain * (0.3 - (images - middle).abs()), None)


class Smear(Segmenter):
    """A random convolution: its answers depend on the neighbours and differ from those of a mirror's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Conv3d(4, 1, 3, padding=1))

    @property
    def encoder(self) -> nn.Module:
        return self.layers

    def forward(self, images: torch.Tensor) -> Logits:
        return Logits(3 * self.layers(images), None)


def band(**rule: object) -> LiveModel:
    return LiveModel(Band(), PREPROCESSING, VolumePostprocessing.model_validate(rule))


def tiny_spec(**rule: object) -> BundleSpec:
    return BundleSpec(
        name="tiny-ct",
        track="ct",
        code_version=__version__,
        model=TINY,
        preprocessing=PREPROCESSING,
        postprocessing=VolumePostprocessing.model_validate(rule),
        labels=("infiltrate",),
        metrics={"mean_dice": 0.5},
        dataset_hash="0123456789abcdef",
        experiment={},
    )


def tiny_network(seed: int = 0) -> Segmenter:
    """Random weights whose batch norms have seen noise, so that its maps are neither flat nor saturated."""
    torch.manual_seed(seed)
    network = build_model(TINY, pretrained=False).train()
    with torch.no_grad():
        network(torch.randn(2, 1, *PREPROCESSING.patch))
    return network.eval()
