"""One stage of a run: its epochs, its validations, its average."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from chestseg.config import Spacing
from chestseg.data.examples import examples_of
from chestseg.data.loader import EpochBatches, MicroBatch, micro_batches
from chestseg.data.sampling import EpochPlan, Sampler
from chestseg.training.averaging import Snapshots, kept, re_estimate, window
from chestseg.training.checkpoint import Position, Progress
from chestseg.training.engine import Engine
from chestseg.training.leaving import Leaving
from chestseg.training.reporter import Report
from chestseg.training.validation import validate

Save = Callable[[Report, Progress | None], None]
"""Reports; with a progress, writes a checkpoint of it too."""
AfterStep = Callable[[int], bool]
"""Hears how many steps are done, and says whether a machine is to go, so that the run shall save and leave."""


@dataclass(frozen=True)
class Cases:
    """Where arrays come from, and which of them are for training and for validation."""

    arrays: Any
    """`PreparedRadiographs` or `PreparedVolumes`, or what answers like them from memory."""
    training: np.ndarray
    positive: np.ndarray
    """Of the training cases."""
    validation: np.ndarray
    compare_at: int | Spacing | None = None
    """Where masks of validation cases are compared; at the stage's own resolution when None."""


class StageRun:
    """Executes what is left of a stage, from `progress` on."""

    def __init__(
        self,
        engine: Engine,
        cases: Cases,
        snapshots: Snapshots,
        index: int,
        progress: Progress,
        save: Save,
        after_step: AfterStep = lambda steps: False,
    ) -> None:
        self.engine, self.cases, self.snapshots, self.index, self.progress, self.save = engine, cases, snapshots, index, progress, save
        self.after_step = after_step
        self.stage, self.group = engine.stage, engine.group
        self.examples = examples_of(cases.arrays, self.stage)
        self.sampler = Sampler(cases.training, cases.positive, self.stage, index, engine.seeds[0])

    def execute(self, checkpoint_every: int, loader_processes: int) -> Progress:
        """Run to the stage's end; the engine's network then holds the weights the next stage starts from."""
        position = self.progress.position
        while position.epoch < self.stage.epochs and not self.progress.stopped:
            self._epoch(checkpoint_every, loader_processes)
        self._end(loader_processes)
        self.progress = Progress(Position(stage=self.index + 1, steps_done=position.steps_done))
        return self.progress

    def _epoch(self, checkpoint_every: int, processes: int) -> None:
        position, engine = self.progress.position, self.engine
        epoch, first = position.epoch, position.step
        start, engine.waited = time.perf_counter(), 0.0
        totals = torch.tensor(self.progress.totals or [0.0] * len(engine.terms), device=self.group.device)
        batches = self._batches(self.sampler.epoch(epoch), epoch, first, processes)
        for losses in engine.epoch(batches, self.sampler.steps, epoch):
            totals += losses
            position.step += 1
            position.steps_done += 1
            leaves = self.after_step(position.steps_done)
            if (leaves or position.steps_done % checkpoint_every == 0) and position.step < self.sampler.steps:
                self.progress.totals = totals.tolist()
                self.save(Report(self.index, None, position.steps_done, {}), self.progress)
                if leaves:
                    raise Leaving
        metrics = self._losses(totals)
        seconds = time.perf_counter() - start
        metrics["images_per_second"] = (self.sampler.steps - first) * self.stage.batch / seconds
        metrics["data_wait"] = engine.waited / seconds
        self._close_epoch(epoch, metrics, checkpoint=position.steps_done % checkpoint_every == 0)

    def _close_epoch(self, epoch: int, metrics: dict[str, float], checkpoint: bool) -> None:
        """Validate if due, keep the snapshot, decide on stopping early, and save the start of the next epoch where that is due."""
        progress, stage = self.progress, self.stage
        due = (epoch + 1) % stage.validate_every == 0 or epoch + 1 == stage.epochs
        if due and len(self.cases.validation):
            metrics |= validate(self.engine, self.cases.arrays, self.cases.validation, self.cases.compare_at)
            self._remember_best(epoch, metrics["val_dice"])
        if self.group.rank == 0 and self._worth_keeping(epoch):
            self.snapshots.save(self.index, epoch, self.engine.network.state_dict())
        progress.position.epoch, progress.position.step, progress.totals = epoch + 1, 0, []
        self.save(Report(self.index, epoch, progress.position.steps_done, metrics), progress if due or checkpoint else None)

    def _remember_best(self, epoch: int, dice: float) -> None:
        progress, patience = self.progress, self.stage.early_stop
        if progress.best_dice is None or dice > progress.best_dice:
            progress.best_dice, progress.best_epoch = dice, epoch
        assert progress.best_epoch is not None
        progress.stopped = patience is not None and epoch - progress.best_epoch >= patience

    def _worth_keeping(self, epoch: int) -> bool:
        """Epochs an average may need; with early stopping, the end is not known and the best epoch may be any."""
        if self.stage.early_stop:
            return True
        return self.stage.swa is not None and epoch in kept(self.stage.swa, self.stage.epochs - 1)

    def _end(self, processes: int) -> None:
        """Give the network the stage's final weights: SWA's average, the best epoch where it stops early, else the last epoch's."""
        last = self.progress.position.epoch - 1
        if self.stage.swa:
            self.load_average(window(self.stage.swa, last), processes)
        elif self.stage.early_stop and self.progress.best_epoch is not None:
            best = self.progress.best_epoch
            self._load(lambda: self.snapshots.load(self.index, best))
        else:
            return
        if len(self.cases.validation):
            metrics = validate(self.engine, self.cases.arrays, self.cases.validation, self.cases.compare_at)
            final = {f"final_{name}": value for name, value in metrics.items()}
            self.save(Report(self.index, None, self.progress.position.steps_done, final), None)

    def load_average(self, epochs: list[int], processes: int = 0) -> None:
        """Give the network the mean of some epochs' weights, with batch-norm statistics re-estimated on training images."""
        assert self.stage.swa is not None
        self._load(lambda: self.snapshots.average(self.index, epochs))
        batches = self.stage.swa.batch_norm_batches
        re_estimate(self.engine, self.norm_batches(batches, processes), self.norm_plan(batches).steps)

    def norm_plan(self, batches: int) -> EpochPlan:
        """Steps of at least so many micro-batches, all of an epoch's where it has fewer, for batch-norm statistics."""
        # The epoch after the last is one that no weights were trained on.
        return EpochPlan(self.sampler.epoch(self.stage.epochs).cases[: math.ceil(batches / self.stage.micro_batches)])

    def norm_batches(self, batches: int, processes: int = 0) -> Iterator[MicroBatch]:
        """This worker's micro-batches of `norm_plan`."""
        return self._batches(self.norm_plan(batches), self.stage.epochs, 0, processes)

    def _load(self, read: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Only rank 0 reads what it alone has written; the others may not see its disk yet."""
        network = self.engine.network
        network.load_state_dict(self.group.share(read() if self.group.rank == 0 else None, network.state_dict()))

    def _batches(self, plan: EpochPlan, epoch: int, first: int, processes: int) -> Iterator[MicroBatch]:
        batches = EpochBatches(self.examples, plan, (*self.engine.seeds, epoch))
        pin = self.group.device.type == "cuda"
        return micro_batches(batches, first_step=first, rank=self.group.rank, world=self.group.size, processes=processes, pin=pin)

    def _losses(self, totals: torch.Tensor) -> dict[str, float]:
        """Mean loss terms of the epoch as `loss_NAME`, and their weighted sum as `loss`.

        Raises:
            FloatingPointError: a term is not finite; names it and the remedy.
        """
        means = dict(zip(self.engine.terms, (totals / self.sampler.steps).tolist(), strict=True))
        for name, value in means.items():
            if not math.isfinite(value):
                where = f"stages.{self.index}, epoch {self.progress.position.epoch}"
                remedy = "lower the learning rate, set optimiser.clip, or use precision fp32"
                raise FloatingPointError(f"{where}: loss {name} is {value}: {remedy}")
        total = sum(getattr(self.stage.loss, name) * value for name, value in means.items())
        return {"loss": total, **{f"loss_{name}": value for name, value in means.items()}}
