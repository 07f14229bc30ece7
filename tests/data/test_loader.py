"""Micro-batches arrive in order, the same from threads, processes, and any number of workers."""

import threading

import numpy as np
import pytest
import torch

from chestseg.config import RadiographStage
from chestseg.data.examples import examples_of
from chestseg.data.loader import EpochBatches, MicroBatch, micro_batches
from chestseg.data.sampling import Sampler
from tests.training.arrays_in_memory import ArraysInMemory


def batches(arrays: ArraysInMemory | None = None) -> EpochBatches:
    arrays = arrays or ArraysInMemory()
    stage = RadiographStage(size=64, epochs=1, batch=4, micro_batch=1)
    return EpochBatches(examples_of(arrays, stage), Sampler(np.arange(12), arrays.positive, stage, 0, seed=0).epoch(0), (0, 0))


def key(batch: MicroBatch) -> tuple[int, int]:
    return batch.step, batch.number


def test_shapes_and_order() -> None:
    got = list(micro_batches(batches()))
    assert [key(b) for b in got] == [(s, i) for s in range(3) for i in range(4)]
    assert got[0].images.shape == got[0].masks.shape == (1, 1, 64, 64)
    assert got[0].images.dtype == torch.uint8


def test_workers_together_load_what_one_would_and_starting_late_changes_nothing() -> None:
    alone = {key(b): b.images for b in micro_batches(batches())}
    shared = {key(b): b.images for rank in range(3) for b in micro_batches(batches(), rank=rank, world=3)}
    late = {key(b): b.images for b in micro_batches(batches(), first_step=2)}
    assert alone.keys() == shared.keys() and sorted(late) == [(2, i) for i in range(4)]
    for position, images in (shared | late).items():
        assert torch.equal(images, alone[position])


def test_processes_load_the_same_bytes_as_the_thread() -> None:
    for one, other in zip(micro_batches(batches()), micro_batches(batches(), processes=1), strict=True):
        assert key(one) == key(other) and torch.equal(one.images, other.images)


def test_leaving_early_ends_the_loading_thread() -> None:
    stream = micro_batches(batches())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert "loader" not in {t.name for t in threading.enumerate()}


def test_an_error_while_loading_reaches_the_caller() -> None:
    class Broken(ArraysInMemory):
        def image(self, index: int, size: int) -> np.ndarray:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(micro_batches(batches(Broken())))
