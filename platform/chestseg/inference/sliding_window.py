"""The sliding window: a network's answers to overlapping patches become one of the whole volume, finished a few slices at a time.

A patch's answer counts most at its centre, around which the network saw most: the weights are a Gaussian of an eighth of the patch,
as nnU-Net and MONAI have them. Sums are kept only for slices that patches still reach, so memory does not grow with their number.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from chestseg.config import Triple

Answer = Callable[[torch.Tensor], torch.Tensor]
"""uint8 (B, 1, *patch) on the CPU to floats (B, 1, *patch) on any device."""
Progress = Callable[[int, int], None]
"""Told how many patches are done, and of how many."""

SIGMA = 0.125
"""Standard deviation of the weights, in patches."""
LEAST_WEIGHT = 1e-3
"""Far corners count this much of the centre, so that the only patch that reaches a voxel still decides it."""


def slide(
    image: np.ndarray,
    patch: Triple,
    overlap: float,
    answer: Answer,
    batch: int = 1,
    wanted: np.ndarray | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Weighted mean of the answers to the patches of a volume. Equal calls give equal bits on a CPU.

    Whoever calls puts the network into evaluation mode and switches gradients off.

    Args:
        image: uint8 (D, H, W), may be mapped from a file. Where it is smaller than a patch it lies amid zeros.
        patch: voxels along slices, rows and columns that `answer` takes.
        overlap: least share of a patch, from 0 to below 1, that the next along an axis covers too; patches are spread evenly.
        answer: what is averaged, such as the network's probabilities.
        batch: patches in one call of `answer`; the last call may have fewer.
        wanted: bool (D, H, W): patches without a wanted voxel are skipped, and voxels that are not wanted get 0. All of them when None.
        progress: called after each batch.

    Returns:
        float32 (D, H, W).
    """
    found = np.empty(image.shape, np.float32)
    top = 0
    for slab in slabs(image, patch, overlap, answer, batch, wanted, progress):
        found[top : top + len(slab)] = slab
        top += len(slab)
    return found


def slabs(
    image: np.ndarray,
    patch: Triple,
    overlap: float,
    answer: Answer,
    batch: int = 1,
    wanted: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """What `slide` returns as float32 (n, H, W), at most a patch deep, one below the other: each as soon as no further patch reaches it."""
    assert image.ndim == 3 and image.dtype == np.uint8, (image.shape, image.dtype)
    corners = window_corners(image.shape, patch, overlap, wanted)
    sums = _Sums(image.shape, patch, wanted)
    for first in range(0, len(corners), batch):
        chosen = corners[first : first + batch]
        patches = np.stack([_cut(image, corner, patch) for corner in chosen])
        for corner, one in zip(chosen, answer(torch.from_numpy(patches)[:, None]), strict=True):
            yield from sums.finish(corner[0])
            sums.add(corner, one[0])
        if progress is not None:
            progress(first + len(chosen), len(corners))
    yield from sums.finish(len(image))


def window_corners(shape: tuple[int, ...], patch: Triple, overlap: float, wanted: np.ndarray | None = None) -> list[Triple]:
    """First voxels of the patches, ordered by slice, row and column; negative where the volume is smaller than the patch.

    Patches lie over the box around what is wanted, or a little beyond it where the volume has room, and only where they hold some of it.
    """
    boxes = [(0, n) for n in shape] if wanted is None else _box(wanted)
    if boxes is None:
        return []
    starts = [_starts(n, p, overlap, *box) for n, p, box in zip(shape, patch, boxes, strict=True)]
    corners = [(z, y, x) for z, y, x in itertools.product(*starts)]
    return corners if wanted is None else [c for c in corners if wanted[_meeting(c, patch, shape)[0]].any()]


def _box(wanted: np.ndarray) -> list[tuple[int, int]] | None:
    """First and last-but-one index of what is wanted along each axis."""
    slices = wanted.any((1, 2))
    if not slices.any():
        return None
    plane = functools.reduce(np.logical_or, wanted)
    places = [np.flatnonzero(line) for line in (slices, plane.any(1), plane.any(0))]
    return [(int(place[0]), int(place[-1]) + 1) for place in places]


def _starts(size: int, patch: int, overlap: float, low: int, high: int) -> list[int]:
    """Where patches start along an axis of `size` voxels to cover [low, high)."""
    if size <= patch:
        return [-((patch - size) // 2)]
    step = max(1, int(patch * (1 - overlap)))
    count = 1 + max(0, math.ceil((high - low - patch) / step))
    span = min(size, patch + (count - 1) * step)
    first = min(max(0, low - (span - (high - low)) // 2), size - span)
    return [first + round(place * (span - patch) / max(1, count - 1)) for place in range(count)]


def _meeting(corner: Triple, patch: Triple, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a patch and the volume meet: indices of the volume, and those of the patch."""
    volume = tuple(slice(max(c, 0), min(c + p, n)) for c, p, n in zip(corner, patch, shape, strict=True))
    return volume, tuple(slice(v.start - c, v.stop - c) for v, c in zip(volume, corner, strict=True))


def _cut(image: np.ndarray, corner: Triple, patch: Triple) -> np.ndarray:
    volume, within = _meeting(corner, patch, image.shape)
    cut = np.zeros(patch, np.uint8)
    cut[within] = image[volume]
    return cut


class _Sums:
    """Weighted answers and weights of a patch's depth of slices, from `top` on."""

    def __init__(self, shape: tuple[int, ...], patch: Triple, wanted: np.ndarray | None) -> None:
        self.shape, self.patch, self.wanted = shape, patch, wanted
        self.top = 0
        self.depth = min(patch[0], shape[0])
        self.sums = self.weights = self.gaussian = torch.empty(0)

    def add(self, corner: Triple, answer: torch.Tensor) -> None:
        """Add the answer (*patch) to the patch at `corner`, none of whose slices is finished."""
        if not self.sums.numel():
            self.sums, self.weights = (torch.zeros(self.depth, *self.shape[1:], device=answer.device) for _ in range(2))
            self.gaussian = _gaussian(self.patch).to(answer.device)
        volume, within = _meeting(corner, self.patch, self.shape)
        kept = (slice(volume[0].start - self.top, volume[0].stop - self.top), *volume[1:])
        weight = self.gaussian[within]
        self.sums[kept].addcmul_(answer[within].float(), weight)
        self.weights[kept].add_(weight)

    def finish(self, until: int) -> Iterator[np.ndarray]:
        """Means of the slices above `until`, which make room for as many further down."""
        while self.top < until:
            count = min(until - self.top, self.depth)
            yield self._means(count)
            for kept in (self.sums, self.weights) if self.sums.numel() else ():
                kept.copy_(kept.roll(-count, 0))
                kept[self.depth - count :] = 0
            self.top += count

    def _means(self, count: int) -> np.ndarray:
        if not self.sums.numel():
            return np.zeros((count, *self.shape[1:]), np.float32)
        # Where no patch was answered both are 0.
        means = self.sums[:count].div(self.weights[:count].clamp_min(LEAST_WEIGHT)).cpu().numpy()
        return means if self.wanted is None else means * self.wanted[self.top : self.top + count]


def _gaussian(patch: Triple) -> torch.Tensor:
    """(*patch) float32, 1 near the centre."""
    axes = [torch.exp(-0.5 * ((torch.arange(p) - (p - 1) / 2) / (SIGMA * p)) ** 2) for p in patch]
    return torch.einsum("i,j,k->ijk", *axes).clamp_min(LEAST_WEIGHT)
