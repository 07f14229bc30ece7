"""Stochastic weight averaging: snapshots of epochs kept on disk, and means over windows of them (Izmailov et al. 2018)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from chestseg.config import Swa
from chestseg.files import whole_file

Tensors = dict[str, torch.Tensor]


def window(swa: Swa, last_epoch: int) -> list[int]:
    """Epochs (from 0) a window averages when `last_epoch` is the stage's last: every `stride`-th backwards from it, ascending."""
    first = max(0, last_epoch + 1 - swa.last)
    return sorted(range(last_epoch, first - 1, -swa.stride))


class Snapshots:
    """The network's weights at the end of epochs, one fp32 safetensors file an epoch, in a folder that outlives workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, stage: int, epoch: int) -> Path:
        """Where the snapshot of an epoch lies, both counted from 0."""
        return self.folder / f"stage{stage}-epoch{epoch:04d}.safetensors"

    def save(self, stage: int, epoch: int, tensors: Tensors) -> None:
        """Keep the weights of an epoch; a repeated epoch writes the same bytes again."""
        with whole_file(self.path(stage, epoch)) as file:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, file)

    def load(self, stage: int, epoch: int) -> Tensors:
        """The weights of an epoch, on the CPU."""
        return load_file(self.path(stage, epoch))

    def average(self, stage: int, epochs: Sequence[int]) -> Tensors:
        """Mean over epochs, added up in float64 in ascending order; integer tensors are those of the last epoch.

        Batch-norm statistics in it are means too, and wrong for the averaged weights until they are re-estimated.
        """
        total: Tensors = {}
        last: Tensors = {}
        for epoch in sorted(epochs):
            last = self.load(stage, epoch)
            for name, value in last.items():
                if value.is_floating_point():
                    total[name] = total[name] + value.double() if name in total else value.double()
        return {name: (total[name] / len(epochs)).to(value.dtype) if name in total else value for name, value in last.items()}
