"""A machine of the run is to go: what one worker was told, all act upon after the same step."""

import torch
import torch.distributed as dist

from chestseg.training.group import Group


class Leaving(Exception):
    """A checkpoint was saved because a machine is to go; the run goes on from it on others."""


class Notice:
    """Spreads the word among the workers, one step late, so that no step waits for it."""

    def __init__(self, group: Group) -> None:
        cuda = group.device.type == "cuda"
        self._group = group
        self._found = torch.zeros(1, pin_memory=cuda and group.size > 1)
        self._copied = torch.cuda.Event() if cuda and group.size > 1 else None

    def agreed(self, told: bool) -> bool:
        """Whether any worker had been told when the step before was done; alone, whether this one is. All ask after every step."""
        if self._group.size == 1:
            return told
        if self._copied:
            self._copied.synchronize()
        before = bool(self._found.item())
        flag = torch.full((1,), float(told), device=self._group.device)
        dist.all_reduce(flag)
        self._found.copy_(flag, non_blocking=True)
        if self._copied:
            self._copied.record()
        return before
