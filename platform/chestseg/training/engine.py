"""The optimiser step over a fixed list of micro-batches, the same for two dimensions and three."""

import time
from collections.abc import Iterator
from itertools import groupby

import torch

from chestseg.config import Stage, Training
from chestseg.data.loader import MicroBatch
from chestseg.losses import loss_terms, term_names, total_loss
from chestseg.models.logits import Logits
from chestseg.models.precision import autocast, compute_dtype
from chestseg.models.segmenter import Segmenter
from chestseg.preprocessing import Normalisation
from chestseg.seed import seed_for
from chestseg.training.batch_norm import BatchNorms
from chestseg.training.gradient import FlatGradient
from chestseg.training.group import Group
from chestseg.training.optimiser import build_optimiser, learning_rate, set_rate


class Engine:
    """One stage's network, optimiser and step on one worker.

    Statistics and losses are taken per micro-batch; gradients and statistics are combined over the list of all of them. So the
    number of workers changes nothing but the order in which floating-point sums are rounded.
    """

    def __init__(
        self, network: Segmenter, stage: Stage, training: Training, preprocessing: Normalisation, group: Group, seeds: tuple[int, ...]
    ) -> None:
        """Take over a network for a stage; `seeds` tells this stage's random draws from those of others."""
        self.network, self.stage, self.group, self.seeds = network, stage, group, seeds
        self.preprocessing = preprocessing
        network.recompute = training.recompute
        layout = network.layout if training.channels_last else torch.contiguous_format
        network.to(device=group.device, memory_format=layout)  # pyright: ignore[reportCallIssue]  (the stub lacks it)
        self.freeze()
        self.gradient = FlatGradient(network.parameters())
        self.optimiser = build_optimiser(network, stage.optimiser)
        self.dtype = compute_dtype(training.precision, group.device)
        self.forward = torch.compile(network) if training.compile else network
        self.terms = term_names(stage.loss)
        self.waited = 0.0

    def freeze(self) -> None:
        """Training mode, less what the stage freezes."""
        self.network.train()
        self.network.encoder.requires_grad_("encoder" not in self.stage.frozen)
        if "batch_norm" in self.stage.frozen:
            for module in self.network.encoder.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def epoch(self, batches: Iterator[MicroBatch], steps_per_epoch: int, epoch: int) -> Iterator[torch.Tensor]:
        """Take a step for each group of `batches` of one step; yields its mean loss terms (terms,), left on the device."""
        norms = BatchNorms(self.network)
        for step, own in groupby(self._timed(batches), key=lambda b: b.step):
            yield self._step(norms, own, epoch * steps_per_epoch + step, steps_per_epoch)

    def logits(self, images: torch.Tensor) -> Logits:
        """The network's answer to uint8 images (B, 1, *spatial), in the engine's precision and memory layout."""
        images = self.preprocessing.normalise(images.to(self.group.device, non_blocking=True))
        with autocast(self.group.device, self.dtype):
            return self.forward(images)

    def _step(self, norms: BatchNorms, own: Iterator[MicroBatch], step: int, steps_per_epoch: int) -> torch.Tensor:
        count, device = self.stage.micro_batches, self.group.device
        before = norms.read()
        statistics = torch.zeros(count, norms.width, device=device)
        losses = torch.zeros(count, len(self.terms), device=device)
        self.gradient.zero()
        with norms.recording():
            for batch in own:
                # Dropout, too, draws by position, whichever worker this is.
                torch.manual_seed(seed_for("forward", *self.seeds, step, batch.number))
                losses[batch.number] = self._backward(batch, count)
                statistics[batch.number] = norms.read()
        self.gradient.combine(self.group)
        norms.fold(before, self.group.sum_(statistics))
        norms.count((step + 1) * count)
        self.gradient.clip(self.stage.optimiser.clip)
        set_rate(self.optimiser, learning_rate(self.stage, step, steps_per_epoch))
        self.optimiser.step()
        return self.group.sum_(losses).mean(0)

    def _backward(self, batch: MicroBatch, count: int) -> torch.Tensor:
        """Add one micro-batch's share to the gradient; returns its loss terms (terms,)."""
        masks = batch.masks.to(self.group.device, non_blocking=True)
        terms = loss_terms(self.stage.loss, self.logits(batch.images), masks)
        (total_loss(self.stage.loss, terms) / count).backward()
        return torch.stack([terms[name].detach() for name in self.terms])

    def _timed(self, batches: Iterator[MicroBatch]) -> Iterator[MicroBatch]:
        """Pass on micro-batches and add up the time spent waiting for them."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch
