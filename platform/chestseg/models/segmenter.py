"""What the platform asks of a network, in two dimensions or three."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from chestseg.models.logits import Logits
from chestseg.models.recompute import recomputed


class Segmenter(nn.Module, ABC):
    """A network with an encoder that can be pretrained, frozen, or given its own learning rate."""

    layout: torch.memory_format = torch.channels_last
    """In which the weights compute fastest: `network.to(memory_format=network.layout)`. Images, of one channel, are of every layout."""
    recompute: bool = False
    """Set it to keep no activations inside the network's parts but compute them again in the backward pass: less memory, more time."""

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The pretrained part."""

    @abstractmethod
    def forward(self, images: torch.Tensor) -> Logits:
        """Normalised float images (B, 1, *spatial) to logits of the same spatial shape."""

    def through(self, part: nn.Module, *inputs: Any) -> Any:
        """`part` of `inputs`, its activations kept for the backward pass unless `recompute` is set."""
        return recomputed(part, *inputs) if self.recompute and torch.is_grad_enabled() else part(*inputs)
