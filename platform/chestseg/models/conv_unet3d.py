"""A 3D U-Net of plain convolutions as nnU-Net builds it (Isensee et al. 2021), for training from scratch on few volumes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from chestseg.config import ConvUNet3DModel, Triple
from chestseg.models.logits import Logits
from chestseg.models.segmenter import Segmenter
from chestseg.models.weights import load_weights


class ConvUNet3D(Segmenter):
    """Two convolutions a level, instance norm, leaky ReLU; strided convolutions down, nearest voxels up.

    Input float32 (B, 1, D, H, W), normalised; output `Logits` at the same D, H and W, whatever they are. Instance norm takes the
    statistics of one patch, so a micro-batch of one trains as well as a large one.
    """

    layout = torch.channels_last_3d

    def __init__(self, config: ConvUNet3DModel) -> None:
        super().__init__()
        channels, strides = config.channels, ((1, 1, 1), *config.strides)
        self.down = nn.ModuleList(_level(*level) for level in zip((1, *channels), channels, strides, strict=False))
        pairs = list(zip(channels[1:], channels[:-1], strict=True))[::-1]
        # Halving the channels before they are enlarged costs a pointwise convolution and saves a third of the widest convolution.
        self.narrow = nn.ModuleList(nn.Conv3d(below, skip, 1, bias=False) for below, skip in pairs)
        self.up = nn.ModuleList(_level(2 * skip, skip, (1, 1, 1)) for _, skip in pairs)
        self.head = nn.Conv3d(channels[0], 1, 1)
        self.coarse_heads = nn.ModuleList(nn.Conv3d(skip, 1, 1) for _, skip in pairs[:-1] if config.deep_supervision)

    @property
    def encoder(self) -> nn.Module:
        """The way down."""
        return self.down

    def forward(self, images: torch.Tensor) -> Logits:
        """Images (B, 1, D, H, W) to mask logits of the same shape; in training under deep supervision, coarser ones too."""
        skips: list[torch.Tensor] = []
        x = images
        for level in self.down:
            x = self.through(level, x)
            skips.append(x)
        x, answers = skips.pop(), []
        for narrow, level in zip(self.narrow, self.up, strict=True):
            skip = skips.pop()
            x = self.through(level, torch.cat([F.interpolate(narrow(x), skip.shape[2:], mode="nearest"), skip], 1))
            answers.append(x)
        coarse = [head(answer) for head, answer in zip(self.coarse_heads, answers, strict=False)] if self.training else []
        return Logits(self.head(x), None, tuple(reversed(coarse)))


def build_conv_unet3d(config: ConvUNet3DModel, *, pretrained: bool = True) -> ConvUNet3D:
    """Build the network and, where `pretrained`, give it the weights of the file that `config.weights` names.

    Raises:
        ValueError: weights that can't be read or are of another network.
    """
    network = ConvUNet3D(config)
    if pretrained and config.weights != "none":
        load_weights(network, config.weights, config.weights_sha256)
    return network


def _level(inputs: int, outputs: int, stride: Triple) -> nn.Sequential:
    return nn.Sequential(*_convolution(inputs, outputs, stride), *_convolution(outputs, outputs, (1, 1, 1)))


def _convolution(inputs: int, outputs: int, stride: Triple) -> Sequence[nn.Module]:
    norm = nn.InstanceNorm3d(outputs, affine=True)
    return nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False), norm, nn.LeakyReLU(0.01, inplace=True)
