"""Dynamic batching without a clock: while the network computes, requests gather, and the next batch is all that wait.

Serve's own `@serve.batch` closes a batch after a fixed wait, whether or not the network is free: a lone request waits for nobody's
sake, and under load batches that were closed too early queue up.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Computed(NamedTuple, Generic[Answer]):
    """An answer, and what it took."""

    answer: Answer
    waited_s: float
    took_s: float
    """Of the whole batch."""
    batch: int


class _Waiting(NamedTuple, Generic[Item]):
    item: Item
    future: asyncio.Future
    since: float


class Batches(Generic[Item, Answer]):
    """Calls `compute` on one thread of its own, with at most `size` items at once, in the order they came.

    Belongs to one event loop.

    Args:
        compute: items to as many answers; what it raises, each of the batch's callers gets.
        size: most items of a batch.
        seen: told each batch's size.
        begin: called first on that thread, for settings that are a thread's own.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], list[Answer]],
        size: int,
        seen: Callable[[int], None] = lambda size: None,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._compute, self._size, self._seen = compute, size, seen
        self._waiting: deque[_Waiting[Item]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network", initializer=begin)
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    async def __call__(self, item: Item) -> Computed[Answer]:
        """The answer to one item; a caller that is cancelled before its batch begins is left out of it."""
        future: asyncio.Future[Computed[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, future, time.perf_counter()))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next()
            if batch:
                self._seen(len(batch))
                await self._answer(batch)

    def _next(self) -> list[_Waiting[Item]]:
        batch: list[_Waiting[Item]] = []
        while self._waiting and len(batch) < self._size:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        return batch

    async def _answer(self, batch: list[_Waiting[Item]]) -> None:
        start = time.perf_counter()
        computing = asyncio.get_running_loop().run_in_executor(self._thread, self._compute, [waiting.item for waiting in batch])
        await asyncio.wait([computing])
        took, error = time.perf_counter() - start, computing.exception()
        for place, waiting in enumerate(batch):
            if waiting.future.done():
                continue
            if error:
                waiting.future.set_exception(error)
            else:
                waiting.future.set_result(Computed(computing.result()[place], start - waiting.since, took, len(batch)))
