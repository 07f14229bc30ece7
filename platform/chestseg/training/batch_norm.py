"""Batch-norm statistics that depend on the list of micro-batches, never on how many workers shared it.

A layer with momentum 1 leaves the statistics of the last micro-batch in its running buffers. So during a step every layer has
momentum 1, its buffers are copied after each micro-batch, the copies of all workers are put together, and the real running
average is then taken over them in list order.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorms:
    """All batch-norm layers of a network that are in training mode, their statistics as one flat vector."""

    def __init__(self, network: nn.Module) -> None:
        self.layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.training]
        self.momenta = [0.1 if layer.momentum is None else layer.momentum for layer in self.layers]
        self.buffers: list[torch.Tensor] = []
        for layer in self.layers:
            assert layer.running_mean is not None and layer.running_var is not None
            self.buffers += [layer.running_mean, layer.running_var]
        self.width = sum(b.numel() for b in self.buffers)
        self.weights = torch.empty(0)
        if self.buffers:
            self.weights = torch.cat([b.new_full((b.numel(),), m) for b, m in zip(self.buffers, self._per_buffer(), strict=True)])

    def read(self) -> torch.Tensor:
        """The running buffers, means and variances in turn, as one float32 vector (width,)."""
        return torch.cat(self.buffers) if self.buffers else torch.empty(0)

    def write(self, flat: torch.Tensor) -> None:
        """Set the running buffers from a vector as `read` gives it."""
        for buffer, part in zip(self.buffers, self._split(flat), strict=True):
            buffer.copy_(part)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Inside, each forward pass leaves its own micro-batch's statistics in the buffers."""
        for layer in self.layers:
            layer.momentum = 1.0
        try:
            yield
        finally:
            for layer, momentum in zip(self.layers, self.momenta, strict=True):
                layer.momentum = momentum

    def fold(self, before: torch.Tensor, recorded: torch.Tensor) -> None:
        """Continue the running average from `before` (width,) over `recorded` (micro-batches, width), in order."""
        if not self.width:
            return  # empty vectors, which need not lie on the device of `recorded`
        running = before
        for statistics in recorded:
            running = torch.lerp(running, statistics, self.weights)
        self.write(running)

    def count(self, batches: int) -> None:
        """Set the layers' counters of batches, which would otherwise tell how many workers there were."""
        for layer in self.layers:
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.fill_(batches)

    def pool(self, recorded: torch.Tensor) -> None:
        """Set the buffers to the statistics of the whole population behind `recorded` (micro-batches, width).

        The variance is the mean of the micro-batches' variances plus the variance of their means (Wu and Johnson 2021,
        "Rethinking Batch in BatchNorm"): small micro-batches alone would make it too small.
        """
        pooled = recorded.mean(0)
        parts = self._split(pooled)
        spread = self._split(recorded.var(0, correction=0))
        for position in range(0, len(parts), 2):
            self.buffers[position].copy_(parts[position])
            self.buffers[position + 1].copy_(parts[position + 1] + spread[position])

    def _per_buffer(self) -> list[float]:
        return [momentum for momentum in self.momenta for _ in range(2)]

    def _split(self, flat: torch.Tensor) -> list[torch.Tensor]:
        return list(flat.split([b.numel() for b in self.buffers])) if self.buffers else []
