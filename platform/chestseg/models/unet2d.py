"""2D U-Net over any encoder of segmentation-models-pytorch, with a one-channel stem and an optional empty-mask head."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import segmentation_models_pytorch as smp
import torch
from torch import nn

from chestseg.config import SliceUNetModel, UNet2DModel
from chestseg.models.logits import Logits
from chestseg.models.segmenter import Segmenter
from chestseg.models.weights import download_error, load_weights, package_weights

CLASSIFIER_DROPOUT = 0.2
HUB_WEIGHTS = "imagenet"
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": lambda: nn.LeakyReLU(0.1, inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
}

Network = TypeVar("Network", bound=Segmenter)


class UNet2D(Segmenter):
    """U-Net (Ronneberger et al. 2015) for one-channel images.

    Input float32 (B, 1, H, W), normalised, H and W multiples of 32; output `Logits`.
    """

    def __init__(self, config: UNet2DModel, *, download: bool = False) -> None:
        super().__init__()
        self.network = smp_unet(config, 1, download=download)

    @property
    def encoder(self) -> nn.Module:
        """The encoder of `smp.Unet`, without its classifier."""
        return self.network.encoder

    def forward(self, images: torch.Tensor) -> Logits:
        """Images (B, 1, H, W) to mask logits of the same shape, and disease logits (B,) where there is a head for it."""
        features = self.through(self.network.encoder, images)
        mask = self.network.segmentation_head(self.through(self.network.decoder, features))
        head = self.network.classification_head
        return Logits(mask, None if head is None else head(features[-1]).squeeze(1))


def build_unet2d(config: UNet2DModel, *, pretrained: bool = True) -> UNet2D:
    """Build the network and, where `pretrained`, give it the weights that `config.weights` names.

    Raises:
        ValueError: an unknown encoder, or weights that can't be had; names them and says where to put the file.
    """
    return with_photograph_weights(UNet2D, config, pretrained)


def smp_unet(config: UNet2DModel | SliceUNetModel, channels: int, *, download: bool) -> smp.Unet:
    """The library's U-Net for images (B, channels, H, W); `download` gives its encoder ImageNet weights."""
    head = {"classes": 1, "pooling": "avg", "dropout": CLASSIFIER_DROPOUT} if config.empty_head else None
    with warnings.catch_warnings():
        # smp marks `timm-` names as deprecated; the encoders behind them differ from their `tu-` namesakes in tensor names.
        warnings.simplefilter("ignore", DeprecationWarning)
        network = smp.Unet(
            config.encoder,
            encoder_weights=HUB_WEIGHTS if download else None,
            in_channels=channels,
            classes=1,
            decoder_channels=config.decoder_channels,
            aux_params=head,
        )
    if config.activation != "relu":
        _replace_relu(network.decoder, ACTIVATIONS[config.activation])
    return network


def _replace_relu(module: nn.Module, make: Callable[[], nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, make())
        else:
            _replace_relu(child, make)


def with_photograph_weights(make: Callable[..., Network], config: UNet2DModel | SliceUNetModel, pretrained: bool) -> Network:
    """`make(config, download=...)` with the weights that `config.weights` names, or at random unless `pretrained`.

    Raises:
        ValueError: as of `build_unet2d`.
    """
    _check_encoder(config)
    if not pretrained or config.weights == "none":
        return make(config)
    if config.weights == HUB_WEIGHTS:
        repository = _hub_repository(config.encoder)
        try:
            return make(config, download=True)
        except (OSError, RuntimeError) as error:
            weights = f"ImageNet weights of {config.encoder} ({repository} on the Hugging Face hub)"
            remedy = "fetch its model.safetensors elsewhere and set model.weights to that file"
            raise download_error(weights, remedy, error) from error
    network = make(config)
    if config.weights == "package":
        package_weights(network.encoder, config.encoder)
    else:
        load_weights(network, config.weights, config.weights_sha256)
    return network


def _check_encoder(config: UNet2DModel | SliceUNetModel) -> None:
    known = smp.encoders.get_encoder_names()
    if config.encoder not in known and not config.encoder.startswith("tu-"):
        raise ValueError(
            f"model.encoder {config.encoder!r} is unknown to segmentation-models-pytorch: {', '.join(known[:6])}, … or tu-NAME"
        )
    if len(config.decoder_channels) != 5:
        raise ValueError(f"model.decoder_channels {config.decoder_channels}: the decoder has five levels")


def _hub_repository(encoder: str) -> str:
    """Where the library takes an encoder's ImageNet weights from; it would answer with a bare KeyError where there are none."""
    if encoder.startswith("tu-"):
        return f"timm/{encoder.removeprefix('tu-')}"
    settings = smp.encoders.encoders[encoder]["pretrained_settings"]
    if HUB_WEIGHTS not in settings:
        raise ValueError(f"model.weights: {encoder} has no ImageNet weights, only {', '.join(settings)}: use none or a file")
    return str(settings[HUB_WEIGHTS]["repo_id"])
