"""2D U-Net for volumes: each slice with its neighbours as channels, over an encoder pretrained on photographs."""

import torch
import torch.nn.functional as F
from torch import nn

from chestseg.config import SliceUNetModel
from chestseg.models.logits import Logits
from chestseg.models.segmenter import Segmenter
from chestseg.models.unet2d import smp_unet, with_photograph_weights

MULTIPLE = 32
"""Of which the encoder needs rows and columns: it halves them five times."""


class SliceUNet(Segmenter):
    """U-Net that segments a volume slice by slice.

    Input float32 (B, 1, D, H, W), normalised; output `Logits` at the same D, H and W, whatever they are: edge voxels are repeated to
    fill rows and columns up to a multiple of 32, and edge slices in place of neighbours that are not there. Batch norms see all
    slices of a micro-batch as images.
    """

    def __init__(self, config: SliceUNetModel, *, download: bool = False) -> None:
        super().__init__()
        self.neighbours = config.neighbours
        self.network = smp_unet(config, 2 * config.neighbours + 1, download=download)

    @property
    def encoder(self) -> nn.Module:
        """The encoder of `smp.Unet`, without its classifier."""
        return self.network.encoder

    def forward(self, images: torch.Tensor) -> Logits:
        """Images (B, 1, D, H, W) to mask logits of the same shape."""
        batch, _, _, rows, columns = images.shape
        features = self.through(self.network.encoder, self.slices(images))
        mask = self.network.segmentation_head(self.through(self.network.decoder, features))
        return Logits(mask[..., :rows, :columns].unflatten(0, (batch, -1)).transpose(1, 2), None)

    def slices(self, images: torch.Tensor) -> torch.Tensor:
        """Volumes (B, 1, D, H, W) as images (B * D, 2 * neighbours + 1, rows, columns), the lowest neighbour first."""
        n, depth, (rows, columns) = self.neighbours, images.shape[2], images.shape[3:]
        padded = F.pad(images, (0, -columns % MULTIPLE, 0, -rows % MULTIPLE, n, n), mode="replicate")
        return torch.stack([padded[:, 0, first : first + depth] for first in range(2 * n + 1)], 2).flatten(0, 1)


def build_slice_unet(config: SliceUNetModel, *, pretrained: bool = True) -> SliceUNet:
    """Build the network and, where `pretrained`, give it the weights that `config.weights` names.

    Raises:
        ValueError: an unknown encoder, or weights that can't be had; names them and says where to put the file.
    """
    return with_photograph_weights(SliceUNet, config, pretrained)
