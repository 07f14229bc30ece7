"""Batches: what waits while the network computes goes together, in order, and nobody waits for a clock."""

import asyncio
import threading

import pytest

from chestseg.serving.batches import Batches


def test_a_lone_item_is_computed_at_once() -> None:
    async def ask() -> None:
        computed = await Batches(lambda items: [item + 1 for item in items], 8)(1)
        assert (computed.answer, computed.batch) == (2, 1)
        assert computed.waited_s >= 0 and computed.took_s >= 0

    asyncio.run(ask())


def test_what_waits_is_computed_together() -> None:
    sizes: list[int] = []
    free = threading.Event()

    def compute(items: list[int]) -> list[int]:
        free.wait()
        return [-item for item in items]

    async def ask() -> None:
        batches = Batches(compute, 4, sizes.append)
        tasks = [asyncio.create_task(batches(0))]
        while not sizes:
            await asyncio.sleep(0)
        tasks += [asyncio.create_task(batches(item)) for item in range(1, 8)]
        await asyncio.sleep(0)
        assert batches.waiting == 7
        tasks[3].cancel()
        free.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [0 if isinstance(one, BaseException) else -one.answer for one in done] == [0, 1, 2, 0, 4, 5, 6, 7]

    asyncio.run(ask())
    assert sizes == [1, 4, 2]


def test_an_error_is_for_its_batch_alone() -> None:
    def compute(items: list[int]) -> list[float]:
        return [1 / item for item in items]

    async def ask() -> None:
        batches = Batches(compute, 1)
        first, second = await asyncio.gather(batches(0), batches(2), return_exceptions=True)
        assert isinstance(first, ZeroDivisionError)
        assert not isinstance(second, BaseException) and second.answer == 0.5
        with pytest.raises(ZeroDivisionError):
            await batches(0)

    asyncio.run(ask())
