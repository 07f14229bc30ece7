"""How many patches a network may see at once within a budget of memory, and whether a volume fits it at all."""

import math

import psutil

from chestseg.config import Triple

GB = 1e9
WORK = 1000
"""Bytes of activations for a voxel of a patch, on a CPU: the U-Net over R3D-18 takes 690 in float32, the slice-wise one 580."""
SLAB = 16
"""Bytes for a voxel of the slices that are being summed: sums, weights, and the copies that move them on."""


def batch_that_fits(batch: int, patch: Triple, grid: Triple, source: Triple, memory_gb: float, *, on_cpu: bool) -> int:
    """The patches to compute at once, at most `batch`, so that the process stays within `memory_gb`.

    What the process holds already counts, the source's values among it.

    Args:
        batch: patches wanted.
        patch: voxels of one.
        grid: voxels of the volume at the network's spacing.
        source: voxels of the source.
        memory_gb: gigabytes (10^9 bytes) for the whole process.
        on_cpu: whether the network's activations lie in the same memory.

    Raises:
        ValueError: not even one patch fits.
    """
    held = psutil.Process().memory_info().rss
    arrays = _largest_moment(math.prod(grid), math.prod(source)) + SLAB * min(patch[0], grid[0]) * grid[1] * grid[2]
    work = WORK * math.prod(patch) if on_cpu else 0
    fitting = batch if not work else int((memory_gb * GB - held - arrays) // work)
    if fitting < 1 or held + arrays > memory_gb * GB:
        raise ValueError(
            f"a volume of {_times(source)} voxels, {_times(grid)} for the network, needs {(held + arrays + work) / GB:.1f} GB, "
            f"memory_gb is {memory_gb:g}: raise it, or crop the volume"
        )
    return min(batch, fitting)


def _largest_moment(grid: int, source: int) -> int:
    """Bytes of the arrays that are alive at once, beside the source's: grey levels, the map in 16 bits, masks, numbered lesions."""
    preparing = source + grid
    sliding = grid * (1 + 1 + 2)
    finishing = 2 * grid + source
    lesions = source * (1 + 4)
    return max(preparing, sliding, finishing, lesions)


def _times(shape: Triple) -> str:
    return "x".join(map(str, shape))
