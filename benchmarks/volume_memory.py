"""Memory of a training step of a volume network, with and without recomputed activations: does it fit the GPU?

    python -m benchmarks.volume_memory [--architecture unet3d] [--encoder r3d_18] [--patch 20 224 224] [--batch 1]

The default is what Bressem et al. 2021 trained: patches of 20 x 224 x 224, one at a time, over r3d_18. Nothing is computed: tensors of
which only shape and type exist go through forward pass, loss and backward pass, so any size takes seconds on any machine. "Kept" are
the distinct tensors that autograd saves until the backward pass; "peak" is the most that lives at once: weights, gradients, AdamW's two
moments, activations, and what the backward pass makes on its way. It leaves out what no library tells beforehand: the CUDA context
(about 0.5 GB), cuDNN's workspaces and gaps between allocations.
"""

import argparse
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chestseg.config import Loss, SliceUNetModel, UNet3DModel
from chestseg.losses import loss_terms, total_loss
from chestseg.models.precision import autocast
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter

GB = 1e9
CPU = torch.device("cpu")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
COPIES = 4
"""Weights, gradients, and AdamW's two moments: what a step holds of every parameter from its start."""


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations made and that are still referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note what it made."""
        answer = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(answer):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf.untyped_storage())
        return answer

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.live:
            self.live[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.live.pop(key)


def step_bytes(network: Segmenter, patch: tuple[int, int, int], batch: int, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes kept for the backward pass, and the peak of a whole step, of a network in training mode."""
    own = {p.untyped_storage()._cdata for p in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with LiveBytes() as counted:
        images, masks = torch.zeros(2, batch, 1, *patch).unbind()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            with autocast(CPU, dtype):
                logits = network(images)
            loss = Loss(bce=1, dice=0, dice_squared=1)
            total = total_loss(loss, loss_terms(loss, logits, masks))
        total.backward()
    fixed = COPIES * sum(p.nbytes for p in network.parameters()) + sum(b.nbytes for b in network.buffers())
    return sum(kept.values()), counted.peak + fixed


def main() -> None:
    """Print a table, a line for each precision with and without recomputation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=("unet3d", "slice_unet"), default="unet3d")
    parser.add_argument("--encoder", default="r3d_18")
    parser.add_argument("--patch", type=int, nargs=3, default=(20, 224, 224), metavar=("SLICES", "ROWS", "COLUMNS"))
    parser.add_argument("--batch", type=int, default=1)
    told = parser.parse_args()
    make = UNet3DModel if told.architecture == "unet3d" else SliceUNetModel
    with FakeTensorMode():
        network = build_model(make.model_validate({"encoder": told.encoder, "weights": "none"})).train()
        print(f"{told.architecture} over {told.encoder}, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters, ", end="")
        print(f"patch {' x '.join(map(str, told.patch))}, batch {told.batch}\n")
        print("| precision | recompute | kept, GB | peak, GB |\n| --- | --- | --- | --- |")
        for name, dtype in PRECISIONS.items():
            for network.recompute in (False, True):
                kept, peak = step_bytes(network, tuple(told.patch), told.batch, dtype)
                print(f"| {name} | {'yes' if network.recompute else 'no'} | {kept / GB:.2f} | {peak / GB:.2f} |", flush=True)


if __name__ == "__main__":
    main()
