"""The way back from the driver of a sweep to trials of several workers: Ray Train passes reports on, and no answers."""

import asyncio
from typing import Any

import ray


class Answers:
    """An actor that holds the driver's decisions until a trial's first worker has asked for them."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, int], bool] = {}
        self._news = asyncio.Condition()

    async def tell(self, number: int, step: int, goes_on: bool) -> None:
        """The driver decided on a trial's report."""
        async with self._news:
            self._told[number, step] = goes_on
            self._news.notify_all()

    async def wait(self, number: int, step: int) -> bool:
        """Whether the trial goes on after this step, once that is known."""
        async with self._news:
            await self._news.wait_for(lambda: (number, step) in self._told)
            return self._told[number, step]


def start_answers(name: str) -> Any:
    """Start the actor and return its handle; it takes no CPU and ends with the driver. `name` is how workers find it."""
    return ray.remote(Answers).options(name=name, num_cpus=0, max_concurrency=1000).remote()


def tell_answer(name: str, number: int, step: int, goes_on: bool) -> None:
    """Tell the actor called `name`; does not wait."""
    ray.get_actor(name).tell.remote(number, step, goes_on)


def wait_for_answer(name: str, number: int, step: int) -> bool:
    """Ask the actor called `name`, and wait."""
    answer: Any = ray.get_actor(name).wait.remote(number, step)
    return bool(ray.get(answer))
