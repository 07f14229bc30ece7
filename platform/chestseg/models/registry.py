"""Networks by the name of their architecture."""

from collections.abc import Callable

from chestseg.config import Model
from chestseg.models.conv_unet3d import build_conv_unet3d
from chestseg.models.segmenter import Segmenter
from chestseg.models.slice_unet import build_slice_unet
from chestseg.models.unet2d import build_unet2d
from chestseg.models.unet3d import build_unet3d

ARCHITECTURES: dict[str, Callable[..., Segmenter]] = {
    "unet2d": build_unet2d,
    "unet3d": build_unet3d,
    "slice_unet": build_slice_unet,
    "conv_unet3d": build_conv_unet3d,
}


def build_model(config: Model, *, pretrained: bool = True) -> Segmenter:
    """The network `config` describes; with `pretrained=False` no weights are looked for (they come from a bundle or checkpoint).

    Raises:
        ValueError: an encoder or weights that can't be had.
    """
    return ARCHITECTURES[config.architecture](config, pretrained=pretrained)
