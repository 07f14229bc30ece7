"""The sliding window against a plain one that keeps everything, at every edge."""

import numpy as np
import pytest
import torch

from chestseg.config import Triple
from chestseg.inference.sliding_window import slabs, slide, window_corners

RANDOM = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RANDOM.integers(1, 256, shape, dtype=np.uint8)


def smoothed(patches: torch.Tensor) -> torch.Tensor:
    """An answer that depends on where in its patch a voxel lies."""
    return torch.nn.functional.avg_pool3d(patches.float() / 255, 3, 1, 1)


def plain(image: np.ndarray, patch: Triple, overlap: float) -> np.ndarray:
    """Pad, sum over all patches in float64, divide, crop."""
    before = [max(0, p - n) // 2 for n, p in zip(image.shape, patch, strict=True)]
    padded = np.pad(image, [(b, max(0, p - n) - b) for n, p, b in zip(image.shape, patch, before, strict=True)])
    lines = [np.exp(-0.5 * ((np.arange(p) - (p - 1) / 2) / (p / 8)) ** 2) for p in patch]
    weight = np.maximum(lines[0][:, None, None] * lines[1][:, None] * lines[2], 1e-3)
    sums, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for corner in window_corners(image.shape, patch, overlap):
        place = tuple(slice(c + b, c + b + p) for c, b, p in zip(corner, before, patch, strict=True))
        sums[place] += weight * smoothed(torch.from_numpy(padded[place].copy())[None, None])[0, 0].numpy()
        weights[place] += weight
    means = sums / weights
    return means[tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=True))]


@pytest.mark.parametrize("overlap", [0, 0.25, 0.6])
@pytest.mark.parametrize("shape", [(20, 33, 40), (8, 16, 16), (3, 40, 9), (1, 1, 1), (9, 17, 17)])
def test_same_as_the_plain_way(shape: Triple, overlap: float) -> None:
    image = noise(*shape)
    for batch in (1, 5):
        found = slide(image, (8, 16, 16), overlap, smoothed, batch)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, plain(image, (8, 16, 16), overlap), atol=1e-5)


@pytest.mark.parametrize(("size", "patch", "overlap"), [(100, 16, 0.25), (17, 16, 0.5), (64, 16, 0), (31, 30, 0.9), (200, 7, 0.6)])
def test_patches_overlap_at_least_as_asked_and_no_more_than_needed(size: int, patch: int, overlap: float) -> None:
    starts = [z for z, _, _ in window_corners((size, 1, 1), (patch, 1, 1), overlap)]
    step = max(1, int(patch * (1 - overlap)))
    assert starts[0] == 0 and starts[-1] == size - patch
    assert max(np.diff(starts)) <= step and len(starts) == 1 + -(-(size - patch) // step)


def test_slabs_come_in_order_and_hold_no_more_than_a_patch() -> None:
    pieces = list(slabs(noise(50, 20, 20), (8, 16, 16), 0.25, smoothed))
    assert sum(len(piece) for piece in pieces) == 50 and max(len(piece) for piece in pieces) <= 8


def test_what_is_not_wanted_is_neither_computed_nor_answered() -> None:
    image = noise(60, 64, 64)
    wanted = np.zeros(image.shape, bool)
    wanted[40:44, 30:50, 5:9] = True
    wanted[5, 3, 60] = True
    seen = 0

    def counted(patches: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(patches)
        return torch.ones(patches.shape)

    steps: list[tuple[int, int]] = []
    found = slide(image, (8, 16, 16), 0.25, counted, 4, wanted, lambda done, count: steps.append((done, count)))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert seen < 0.05 * len(window_corners(image.shape, (8, 16, 16), 0.25))
    assert steps[-1] == (seen, seen) and [done for done, _ in steps] == [*range(4, seen, 4), seen]


def test_patches_lie_around_what_is_wanted() -> None:
    wanted = np.zeros((40, 40, 40), bool)
    wanted[10:14, 0:4, 36:40] = True
    assert window_corners(wanted.shape, (8, 8, 8), 0.5, wanted) == [(8, 0, 32)]


def test_nothing_wanted_nothing_answered() -> None:
    image = noise(30, 5, 5)
    assert not slide(image, (8, 8, 8), 0.5, pytest.fail, wanted=np.zeros(image.shape, bool)).any()


def test_equal_calls_give_equal_bits_from_a_mapped_file(tmp_path: pytest.TempPathFactory) -> None:
    image = noise(20, 30, 30)
    np.save(f"{tmp_path}/image.npy", image)
    mapped = np.load(f"{tmp_path}/image.npy", mmap_mode="r")
    assert (slide(image, (8, 16, 16), 0.5, smoothed) == slide(mapped, (8, 16, 16), 0.5, smoothed)).all()
