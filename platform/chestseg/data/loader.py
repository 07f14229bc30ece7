"""From a plan of cases to micro-batches of tensors, loaded ahead of the training step."""

import queue
import threading
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from chestseg.data.examples import Examples
from chestseg.data.sampling import EpochPlan
from chestseg.seed import seed_for

AHEAD = 4
"""Micro-batches kept ready; more only costs memory."""


class MicroBatch(NamedTuple):
    """One micro-batch, the `number`-th of its `step`."""

    step: int
    number: int
    images: torch.Tensor
    """(B, 1, *spatial) uint8."""
    masks: torch.Tensor
    """(B, 1, *spatial) uint8, 0 or 1."""


class EpochBatches(Dataset[MicroBatch]):
    """The micro-batches of one epoch by (step, index), augmented with draws that depend on the position alone."""

    def __init__(self, examples: Examples, plan: EpochPlan, seed_parts: tuple[int | str, ...]) -> None:
        self.examples, self.plan, self.seed_parts = examples, plan, seed_parts

    def __getitem__(self, position: tuple[int, int]) -> MicroBatch:
        """Load, augment and stack one micro-batch."""
        step, index = position
        cases = self.plan.cases[step, index]
        images = np.empty((len(cases), 1, *self.examples.shape), np.uint8)
        masks = np.empty_like(images)
        for slot, case in enumerate(cases):
            seed = seed_for("augment", *self.seed_parts, step, index, slot)
            images[slot, 0], masks[slot, 0] = self.examples(int(case), seed)
        return MicroBatch(step, index, torch.from_numpy(images), torch.from_numpy(masks))


def micro_batches(
    batches: EpochBatches, *, first_step: int = 0, rank: int = 0, world: int = 1, processes: int = 0, pin: bool = False
) -> Iterator[MicroBatch]:
    """Yield the micro-batches of `rank` among `world` workers, in order, from `first_step` to the epoch's end.

    Micro-batch i of a step belongs to worker i modulo `world`. With `processes` 0 one thread loads beside the caller.
    """
    steps, count, _ = batches.plan.cases.shape
    positions = [(step, index) for step in range(first_step, steps) for index in range(rank, count, world)]
    if processes == 0:
        yield from _threaded(batches, positions, pin)
        return
    yield from DataLoader(
        batches,
        batch_size=None,
        sampler=positions,  # type: ignore[arg-type]  # any sequence of keys does
        num_workers=processes,
        prefetch_factor=max(2, AHEAD // processes),
        pin_memory=pin,
        worker_init_fn=_one_thread,
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _threaded(batches: EpochBatches, positions: list[tuple[int, int]], pin: bool) -> Iterator[MicroBatch]:
    """Load on one thread; an error there is raised here, and leaving early ends the thread."""
    ready: queue.Queue[MicroBatch | BaseException | None] = queue.Queue(AHEAD)
    leaving = threading.Event()

    def put(item: MicroBatch | BaseException | None) -> bool:
        while not leaving.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def load() -> None:
        try:
            for position in positions:
                loaded = batches[position]
                if pin:
                    loaded = loaded._replace(images=loaded.images.pin_memory(), masks=loaded.masks.pin_memory())
                if not put(loaded):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  (carried to the consumer, which raises it)
            put(error)

    thread = threading.Thread(target=load, name="loader", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        leaving.set()
        thread.join()
