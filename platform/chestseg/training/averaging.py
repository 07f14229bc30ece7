"""Stochastic weight averaging: snapshots of epochs kept on disk, and means over windows of them (Izmailov et al. 2018)."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from chestseg.config import Swa
from chestseg.data.loader import MicroBatch
from chestseg.files import whole_file
from chestseg.training.batch_norm import BatchNorms
from chestseg.training.engine import Engine

Tensors = dict[str, torch.Tensor]
Contents = dict[str, tuple[int, str]]
"""By tensor's name, the epoch in whose file it lies and the SHA-256 of its bytes."""
SNAPSHOTS = "snapshots"
"""Their folder in a run's."""
BLOCK = 1 << 17
"""Numbers added up at a time: their float64 sums stay in a processor's cache."""
CONTENTS = "snapshot"
"""The header's entry of `Contents`. One entry, as the order of several is not fixed, and a repeated epoch shall write the same bytes."""


def window(swa: Swa, last_epoch: int) -> list[int]:
    """Epochs (from 0) a window averages when `last_epoch` is the stage's last, ascending."""
    return spanned(swa.skip, swa.last, swa.stride, last_epoch)


def spanned(skip: int, last: int, stride: int, last_epoch: int) -> list[int]:
    """Every `stride`-th epoch backwards from the one `skip` before `last_epoch`, within `last` epochs; ascending."""
    end = max(0, last_epoch - skip)
    return sorted(range(end, max(-1, end - last), -stride))


def kept(swa: Swa, last_epoch: int) -> set[int]:
    """Epochs whose weights are worth keeping: those of the window and, where a tail is given, all of it."""
    return set(window(swa, last_epoch)) | set(range(max(0, last_epoch + 1 - (swa.tail or 0)), last_epoch + 1))


class Snapshots:
    """The network's weights at the end of epochs, one safetensors file an epoch, in a folder that outlives workers.

    What did not change since the snapshot before, such as a frozen encoder, is not written again: the file says where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, stage: int, epoch: int) -> Path:
        """Where the snapshot of an epoch lies, both counted from 0."""
        return self.folder / f"stage{stage}-epoch{epoch:04d}.safetensors"

    def save(self, stage: int, epoch: int, tensors: Tensors) -> None:
        """Keep the weights of an epoch; a repeated epoch writes the same bytes again."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        before = self._before(stage, epoch)
        contents: Contents = {}
        for name, value in tensors.items():
            digest = _digest(value)
            same = name in before and before[name][1] == digest
            contents[name] = (before[name][0] if same else epoch, digest)
        own = {name: value for name, value in tensors.items() if contents[name][0] == epoch}
        with whole_file(self.path(stage, epoch)) as file:
            save_file(own, file, metadata={CONTENTS: json.dumps(contents)})

    def epochs(self, stage: int) -> list[int]:
        """Those of a stage that are kept, ascending, counted from 0."""
        pattern = self.path(stage, 0).name.replace("0000", "*")
        return sorted(int(path.stem.rpartition("epoch")[2]) for path in self.folder.glob(pattern))

    def load(self, stage: int, epoch: int) -> Tensors:
        """The weights of an epoch, on the CPU.

        Raises:
            ValueError: a file they lie in is missing or damaged.
        """
        return self.average(stage, [epoch])

    def average(self, stage: int, epochs: Sequence[int]) -> Tensors:
        """Mean over epochs, added up in float64 in ascending order; integer tensors are those of the last epoch.

        Batch-norm statistics in it are means too, and wrong for the averaged weights until they are re-estimated. Raises as `load`.
        """
        return Averages(self, stage).mean(epochs)

    def read(self, stage: int, epoch: int) -> tuple[Contents, Tensors]:
        """What a file says of each tensor of its epoch, and the tensors that lie in it, mapped and not read yet. Raises as `load`."""
        with self._open(stage, epoch) as file:
            # A file of a version that wrote every tensor says nothing.
            told = (file.metadata() or {}).get(CONTENTS)
            contents: Contents = json.loads(told) if told else dict.fromkeys(file.keys(), (epoch, ""))
            return contents, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def _before(self, stage: int, epoch: int) -> Contents:
        """Contents of the stage's newest earlier snapshot; nothing where this is the first."""
        newest = max((e for e in self.epochs(stage) if e < epoch), default=None)
        return {} if newest is None else self.read(stage, newest)[0]

    def _open(self, stage: int, epoch: int) -> Any:
        path = self.path(stage, epoch)
        remedy = "train again under another name, or put the file back"
        try:
            return safe_open(path, "pt")
        except FileNotFoundError:
            raise ValueError(f"{path}: this epoch's weights are missing, and an average or a later snapshot needs them: {remedy}") from None
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged ({error}): {remedy}") from None


class Averages:
    """Means over windows of one stage's snapshots; each file is mapped once, and what windows share is in memory already."""

    def __init__(self, snapshots: Snapshots, stage: int) -> None:
        self.snapshots, self.stage = snapshots, stage
        self.files: dict[int, tuple[Contents, Tensors]] = {}

    def mean(self, epochs: Sequence[int]) -> Tensors:
        """As `Snapshots.average`."""
        contents = [self._file(epoch)[0] for epoch in sorted(epochs)]
        return {name: _mean([self._file(each[name][0])[1][name] for each in contents]) for name in contents[-1]}

    def _file(self, epoch: int) -> tuple[Contents, Tensors]:
        if epoch not in self.files:
            self.files[epoch] = self.snapshots.read(self.stage, epoch)
        return self.files[epoch]


def re_estimate(engine: Engine, batches: Iterator[MicroBatch], steps: int) -> None:
    """Give the network's batch norms in training mode the statistics of whole epochs' micro-batches, pooled over workers.

    Args:
        engine: its network, which holds an average, is put into training mode less what its stage freezes.
        batches: this worker's of `steps` steps; left alone where there is nothing to estimate.
        steps: how many there are.
    """
    engine.freeze()
    norms, count = BatchNorms(engine.network), engine.stage.micro_batches
    if not norms.width:
        return
    recorded = torch.zeros(steps * count, norms.width, device=engine.group.device)
    with torch.no_grad(), norms.recording():
        for batch in batches:
            engine.logits(batch.images)
            recorded[batch.step * count + batch.number] = norms.read()
    norms.pool(engine.group.sum_(recorded))
    norms.count(len(recorded))


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    """Of one tensor at several epochs, ascending; the last one where it holds whole numbers."""
    last = values[-1]
    if not last.is_floating_point() or all(value is last for value in values):
        return last  # n times the same number, divided by n, is that number
    mean, flat = torch.empty_like(last), [value.flatten() for value in values]
    for start in range(0, last.numel(), BLOCK):
        total = flat[0][start : start + BLOCK].double()
        for value in flat[1:]:
            total += value[start : start + BLOCK]
        mean.view(-1)[start : start + BLOCK] = total / len(flat)
    return mean


def _digest(value: torch.Tensor) -> str:
    """Of a contiguous CPU tensor's type, shape and bytes."""
    digest = hashlib.sha256(f"{value.dtype}{tuple(value.shape)}".encode())
    digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
