"""Stochastic weight averaging: snapshots of epochs kept on disk, and means over windows of them (Izmailov et al. 2018)."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
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
SNAPSHOTS = "snapshots"
"""Their folder in a run's."""
CONTENTS = "snapshot"
"""The header's entry: by tensor's name, the epoch in whose file it lies and the SHA-256 of its bytes. One entry, as the order of several
is not fixed, and a repeated epoch shall write the same bytes."""


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
        contents: dict[str, tuple[int, str]] = {}
        for name, value in tensors.items():
            digest = _digest(value)
            same = name in before and before[name][1] == digest
            contents[name] = (before[name][0] if same else epoch, digest)
        own = {name: value for name, value in tensors.items() if contents[name][0] == epoch}
        with whole_file(self.path(stage, epoch)) as file:
            save_file(own, file, metadata={CONTENTS: json.dumps(contents)})

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
        with ExitStack() as stack:
            files: dict[int, Any] = {}

            def read(epoch: int, name: str) -> torch.Tensor:
                if epoch not in files:
                    files[epoch] = stack.enter_context(self._open(stage, epoch))
                return files[epoch].get_tensor(name)

            places = [self._contents(stage, epoch) for epoch in sorted(epochs)]
            return {name: _mean([place[name][0] for place in places], lambda epoch, name=name: read(epoch, name)) for name in places[-1]}

    def _before(self, stage: int, epoch: int) -> dict[str, tuple[int, str]]:
        """Contents of the stage's newest earlier snapshot; nothing where this is the first."""
        pattern = self.path(stage, 0).name.replace("0000", "*")
        earlier = [int(path.stem.rpartition("epoch")[2]) for path in self.folder.glob(pattern)]
        newest = max((e for e in earlier if e < epoch), default=None)
        return {} if newest is None else self._contents(stage, newest)

    def _contents(self, stage: int, epoch: int) -> dict[str, tuple[int, str]]:
        with self._open(stage, epoch) as file:
            told = (file.metadata() or {}).get(CONTENTS)
            # A file of a version that wrote every tensor says nothing.
            return json.loads(told) if told else dict.fromkeys(file.keys(), (epoch, ""))

    def _open(self, stage: int, epoch: int) -> Any:
        path = self.path(stage, epoch)
        remedy = "train again under another name, or put the file back"
        try:
            return safe_open(path, "pt")
        except FileNotFoundError:
            raise ValueError(f"{path}: this epoch's weights are missing, and an average or a later snapshot needs them: {remedy}") from None
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged ({error}): {remedy}") from None


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


def _mean(epochs: list[int], read: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """Of one tensor, which lies in the files of `epochs`, ascending; the last one where it holds whole numbers."""
    last = read(epochs[-1])
    if len(set(epochs)) == 1 or not last.is_floating_point():
        return last  # n times the same number, divided by n, is that number
    total = read(epochs[0]).double()
    for epoch in epochs[1:]:
        total += read(epoch)
    return (total / len(epochs)).to(last.dtype)


def _digest(value: torch.Tensor) -> str:
    """Of a contiguous CPU tensor's type, shape and bytes."""
    digest = hashlib.sha256(f"{value.dtype}{tuple(value.shape)}".encode())
    digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
