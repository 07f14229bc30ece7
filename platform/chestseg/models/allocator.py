"""Memory that networks on a CPU free and take again with every batch."""

import ctypes
import functools
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENAS = -1, -3, -8
"""Of glibc's `mallopt`, see malloc.h."""
KEPT = 1 << 30
"""Bytes of the largest blocks that are kept."""
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": f"{KEPT}", "MALLOC_TRIM_THRESHOLD_": f"{2 * KEPT - 1}"}
"""The same for processes that start: there it holds for all threads, those that were there before included."""
GIVING_BACK = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": f"{1 << 20}", "MALLOC_TRIM_THRESHOLD_": f"{1 << 25}"}
"""The opposite, for processes that hold many callers' files for a moment: blocks from 1 MiB on go back to the system when they are freed.
By default each thread keeps a heap of its own, and blocks of up to 32 MiB stay in it."""


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep the blocks up to 1 GiB that it frees, instead of handing each back to the system and asking for it again.

    By default glibc maps blocks above 32 MiB anew each time, and the system fills every page of them with zeros: a training step of a
    U-Net takes a hundred thousand page faults. With this a few hundred are left, at the same peak of memory; docs/results.md has the times.

    Returns:
        Whether the C library took it; others than glibc are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = {ARENAS: 1, MMAP_THRESHOLD: KEPT, TRIM_THRESHOLD: 2 * KEPT - 1}
    return mallopt is not None and all(mallopt(which, value) for which, value in settings.items())
