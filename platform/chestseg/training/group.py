"""The workers of a run as the engine sees them: a rank, a size, a sum."""

from dataclasses import dataclass, field

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Group:
    """One worker's place among all; alone it needs no process group."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace `tensor` by its sum over all workers. Rows only one worker fills arrive exact: adding zeros rounds nothing."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def share(self, tensors: dict[str, torch.Tensor] | None, like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Give every worker the tensors that rank 0 has; the others pass None, and all say by `like` what to expect."""
        if self.size == 1:
            assert tensors is not None
            return tensors
        received = {}
        for name, expected in like.items():
            value = tensors[name].to(self.device) if tensors is not None else torch.empty_like(expected)
            value = value.contiguous()  # whatever the layout, workers must mean the same order of elements
            dist.broadcast(value, src=0)
            received[name] = value
        return received
