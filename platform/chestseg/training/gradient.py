"""The gradient of the whole network as one vector, summed over workers in one exchange."""

from collections.abc import Iterable

import torch
from torch import nn

from chestseg.training.group import Group


class FlatGradient:
    """Backs every parameter's `.grad` with a slice of one float32 vector.

    One exchange a step with a fixed layout: the sum's order, and so its rounding, is the same at every step and after every
    restart, which buckets that are rebuilt after the first step would not promise.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        assert self.parameters, "a network without trainable parameters"
        self.flat = torch.zeros(sum(p.numel() for p in self.parameters), device=self.parameters[0].device)
        offset = 0
        for p in self.parameters:
            # The slice takes the parameter's own strides, so channels-last weights get channels-last gradients.
            p.grad = torch.as_strided(self.flat, p.shape, p.stride(), offset)
            offset += p.numel()

    def zero(self) -> None:
        """Forget the last step's gradient."""
        self.flat.zero_()

    def combine(self, group: Group) -> None:
        """Sum over workers; each has added up its share of the micro-batches, already divided by their number."""
        group.sum_(self.flat)

    def clip(self, limit: float | None) -> None:
        """Scale down to an L2 norm of `limit`."""
        if limit is not None:
            norm = torch.linalg.vector_norm(self.flat)
            self.flat.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
