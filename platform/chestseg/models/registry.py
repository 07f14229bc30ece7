"""Networks by the name of their architecture."""

from collections.abc import Callable

from chestseg.config import Model
from chestseg.models.segmenter import Segmenter


def build_model(config: Model, *, pretrained: bool = True) -> Segmenter:
    """The network `config` describes; with `pretrained=False` no weights are looked for (they come from a bundle or checkpoint).

    Raises:
        ValueError: an encoder or weights that can't be had.
    """
    return _builder(config.architecture)(config, pretrained=pretrained)


def _builder(architecture: str) -> Callable[..., Segmenter]:
    """Imported when a network is built: smp and torchvision take two seconds of a core, in fronts and drivers for nothing."""
    match architecture:
        case "unet2d":
            from chestseg.models.unet2d import build_unet2d as build
        case "unet3d":
            from chestseg.models.unet3d import build_unet3d as build
        case "slice_unet":
            from chestseg.models.slice_unet import build_slice_unet as build
        case "conv_unet3d":
            from chestseg.models.conv_unet3d import build_conv_unet3d as build
        case _:
            raise AssertionError(architecture)
    return build
