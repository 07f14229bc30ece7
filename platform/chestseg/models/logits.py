"""What every network of the platform answers."""

from typing import NamedTuple

import torch


class Logits(NamedTuple):
    """Raw scores before the sigmoid."""

    mask: torch.Tensor
    """(B, 1, *spatial), the input's spatial shape."""
    disease: torch.Tensor | None
    """(B,) from the empty-mask head: high where a mask is expected; None without such a head."""
    coarse: tuple[torch.Tensor, ...] = ()
    """(B, 1, *smaller) each, the finest first: what the decoder says at coarser levels, in training and under deep supervision only."""
