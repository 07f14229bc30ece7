"""3D U-Net over a video ResNet of torchvision, as Bressem et al. 2021 (arXiv 2101.09976) segment infiltrates with."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.video import VideoResNet

from chestseg.config import Triple, UNet3DModel
from chestseg.models.logits import Logits
from chestseg.models.segmenter import Segmenter
from chestseg.models.weights import cached_weights, fit_stem, load_encoder, load_weights

FEATURES = (1, 64, 128, 256, 512)
"""Channels of the image and of the encoder's four stages, all of which the decoder sees."""
LEVELS = len(FEATURES)
HUB_WEIGHTS = "kinetics400"
HUB_VERSION = "KINETICS400_V1"


class UNet3D(Segmenter):
    """U-Net (Çiçek et al. 2016) for one-channel volumes of any size.

    Input float32 (B, 1, D, H, W), normalised; output `Logits` at the same D, H and W. Nothing is padded or cut: a level is brought
    to the size of the next finer one by repeating voxels. The least patch to train on is the one that leaves its batch norms more
    than one voxel at the coarsest level; in evaluation a single voxel will do.
    """

    layout = torch.channels_last_3d

    def __init__(self, config: UNet3DModel) -> None:
        super().__init__()
        self.backbone = VideoEncoder(config.encoder, config.stem_stride, config.depth_strides)
        bottom, *channels = config.decoder_channels
        self.bottom = _convolutions(FEATURES[-1], bottom)
        coarser = (bottom, *channels[:-1])
        self.levels = nn.ModuleList(Level(*sizes) for sizes in zip(coarser, FEATURES[-2::-1], channels, strict=True))
        self.head = nn.Conv3d(channels[-1], 1, 1)
        self.coarse_heads = nn.ModuleList(nn.Conv3d(size, 1, 1) for size in channels[:-1] if config.deep_supervision)

    @property
    def encoder(self) -> nn.Module:
        """The video ResNet without its classifier."""
        return self.backbone

    def forward(self, images: torch.Tensor) -> Logits:
        """Images (B, 1, D, H, W) to mask logits of the same shape; in training under deep supervision, coarser ones too."""
        # One channel is of every layout to PyTorch, which would lay out all that is concatenated with it in the slowest.
        images = images.clone(memory_format=self.layout)
        skips, x = [images], self.through(self.backbone.stem, images)
        for stage, slices in zip(self.backbone.stages, self.backbone.averaged, strict=True):
            # A kernel of one slice, as mc3_18 has, would skip slices where r3d_18's sees them all: so they are averaged before.
            x = F.adaptive_avg_pool3d(x, (-(-x.shape[2] // slices), None, None)) if slices > 1 else x
            for block in stage:
                x = self.through(block, x)
            skips.append(x)
        x = self.through(self.bottom, skips.pop())
        answers = []
        for level in self.levels:
            x = self.through(level, x, skips.pop())
            answers.append(x)
        coarse = [head(answer) for head, answer in zip(self.coarse_heads, answers, strict=False)] if self.training else []
        return Logits(self.head(x), None, tuple(reversed(coarse)))


class VideoEncoder(nn.Module):
    """torchvision's video ResNet (Tran et al. 2018) up to its pooling, with its names of tensors, a one-channel stem and other strides."""

    def __init__(self, name: str, stem_stride: Triple, depth_strides: Triple) -> None:
        super().__init__()
        source = get_model(name, weights=None)
        assert isinstance(source, VideoResNet)
        self.stem = source.stem
        self.layer1, self.layer2, self.layer3, self.layer4 = source.layer1, source.layer2, source.layer3, source.layer4
        first, *_ = stem = _convolutions_of(self.stem)
        first.weight, first.in_channels = nn.Parameter(fit_stem(first.weight.detach(), 1)), 1
        for convolution in stem:
            # r2plus1d_18 has one convolution within slices and another across them.
            convolution.stride = tuple(s if k > 1 else 1 for s, k in zip(stem_stride, convolution.kernel_size, strict=True))
        deep = zip(self.stages[1:], depth_strides, strict=True)
        self.averaged = (1, *(_set_depth_stride(stage, stride) for stage, stride in deep))
        """How many slices become one before each stage."""

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages behind the stem, each of two residual blocks."""
        return self.layer1, self.layer2, self.layer3, self.layer4


class Level(nn.Module):
    """One level of the decoder: what comes from below at the skip's size, beside the normalised skip, through two convolutions."""

    def __init__(self, below: int, skip: int, channels: int) -> None:
        super().__init__()
        # The image keeps its grey values; features of pretrained stages differ in scale.
        self.norm = nn.BatchNorm3d(skip) if skip > 1 else nn.Identity()
        self.convolutions = _convolutions(below + skip, channels)

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(B, below, *smaller) and (B, skip, D, H, W) to (B, channels, D, H, W)."""
        below = F.interpolate(below, skip.shape[2:], mode="nearest")
        # The image is float32 even where the network computes in bfloat16, and would make everything beside it so.
        return self.convolutions(torch.cat([below, self.norm(skip).to(below.dtype)], 1))


def build_unet3d(config: UNet3DModel, *, pretrained: bool = True) -> UNet3D:
    """Build the network and, where `pretrained`, give it the weights that `config.weights` names.

    Raises:
        ValueError: another number of levels, or weights that can't be had; names them and says where to put the file.
    """
    if len(config.decoder_channels) != LEVELS:
        raise ValueError(f"model.decoder_channels {config.decoder_channels}: the decoder has five levels")
    network = UNet3D(config)
    if not pretrained or config.weights == "none":
        return network
    if config.weights == HUB_WEIGHTS:
        url = get_model_weights(config.encoder)[HUB_VERSION].url
        load_encoder(network.encoder, cached_weights(url, f"Kinetics-400 weights of {config.encoder}"), url)
    else:
        load_weights(network, config.weights, config.weights_sha256)
    return network


def _convolutions(inputs: int, outputs: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv3d(channels, outputs, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        parts += [convolution, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def _convolutions_of(part: nn.Module) -> list[nn.Conv3d]:
    return [m for m in part.modules() if isinstance(m, nn.Conv3d)]


def _set_depth_stride(stage: nn.Module, stride: int) -> int:
    """Give `stage` its stride along slices; returns what of it is left to averaging, because no convolution spans slices."""
    strided = [convolution for convolution in _convolutions_of(stage) if convolution.stride[0] > 1]
    for convolution in strided:
        convolution.stride = (stride, *convolution.stride[1:])
    return 1 if strided else stride
