"""What every job on Ray Data wants of it: silence beside the job's own progress bar, and memory it can have."""

import contextlib
import logging
from collections.abc import Iterator

import ray
import ray.data


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Ray Data's own bars, plans and timings out of the progress bar's line."""
    context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        log.setLevel(before[1])


def task_memory(needed: float) -> float:
    """What Ray sets aside for a task, in bytes: a node with many cores and little memory takes fewer at a time.

    No more than the largest node has, or the task would wait for ever.
    """
    return min(needed, largest("memory"))


def largest(resource: str) -> float:
    """The most of a resource that any one node has."""
    return max(node["Resources"].get(resource, 0) for node in ray.nodes() if node["Alive"])
