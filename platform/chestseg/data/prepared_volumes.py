"""Prepared volumes: grey values and masks at several spacings, a case to a shard, and the masks they are judged by."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from chestseg.config import Data, Spacing, VolumeData
from chestseg.data.prepared import REMEDY, PreparedDataset, array_path, shard_folder

FOREGROUND = 10_000
"""Largest number of a mask's voxels whose positions are kept."""


def truth_path(shard: Path) -> Path:
    """File of a shard's mask as it was drawn."""
    return shard / "truth.npz"


class PreparedVolumes(PreparedDataset):
    """Volumes by index, in canonical orientation: slices upwards, rows to the back, columns to the patient's left."""

    KIND = "volumes"
    DATA = VolumeData

    def __init__(self, folder: Path, table: pa.Table, facts: dict[str, Any]) -> None:
        super().__init__(folder, table, facts)
        self.spacings: tuple[Spacing, ...] = tuple((float(s), float(r), float(c)) for s, r, c in facts["spacings"])
        """mm between slices, rows and columns, the finest first."""
        low, high = facts["window"]
        self.window: tuple[float, float] = (low, high)
        """HU of grey 0 and of grey 255."""

    def require_split(self, data: Data) -> None:
        """Refuse an experiment of the other kind, or whose split, labels, window or spacings are not what was prepared.

        Raises:
            ValueError: names the key and the remedy.
        """
        super().require_split(data)
        assert isinstance(data, VolumeData), type(data)
        if data.window != self.window:
            raise ValueError(f"{self.folder} was prepared with data.window {self.window}, now it is {data.window}: {REMEDY} again")
        for spacing in data.spacings:
            self._require(spacing)

    def image(self, index: int, spacing: Spacing) -> np.ndarray:
        """Grey values of a case, (D, H, W) uint8, mapped from the file as long as the array lives; it can't be written to.

        Raises:
            ValueError: `spacing` was not prepared, or the file is missing or damaged.
        """
        return self._load("image", index, spacing, mapped=True)

    def mask(self, index: int, spacing: Spacing) -> np.ndarray:
        """Mask of a case, (D, H, W) uint8 of 0 and 1; as `image` otherwise."""
        return self._load("mask", index, spacing, mapped=True)

    def foreground(self, index: int, spacing: Spacing) -> np.ndarray:
        """Positions (slice, row, column) of the mask's voxels, (n, 3) int32: all, or `FOREGROUND` spread evenly over them.

        There are none where a lesion is lost at a coarse spacing. Raises as `image`.
        """
        return self._load("foreground", index, spacing)

    def shape(self, index: int, spacing: Spacing) -> tuple[int, int, int]:
        """Voxels of a case along slices, rows and columns; no voxel is read. Raises as `image`."""
        slices, rows, columns = self.image(index, spacing).shape
        return slices, rows, columns

    def truth(self, index: int) -> tuple[np.ndarray, Spacing]:
        """The mask as it was drawn, (D, H, W) uint8 of 0 and 1 at the source's spacing, and that spacing; in memory.

        Raises:
            ValueError: the file is missing or damaged.
        """
        path = truth_path(self._shard(index))
        with _damage_named(path), open(path, "rb") as file, np.load(file) as stored:
            bits, shape, (s, r, c) = stored["bits"], tuple(stored["shape"].tolist()), stored["spacing"].tolist()
        return np.unpackbits(bits, count=math.prod(shape)).reshape(shape), (s, r, c)

    def _shard(self, index: int) -> Path:
        return shard_folder(self.folder, int(self._places[index, 0]))

    def _require(self, spacing: Spacing) -> None:
        if spacing not in self.spacings:
            known = ", ".join(str(list(s)) for s in self.spacings)
            raise ValueError(f"{self.folder} has no spacing {list(spacing)}, only {known}: add it to data.spacings and {REMEDY} again")

    def _load(self, kind: str, index: int, spacing: Spacing, *, mapped: bool = False) -> np.ndarray:
        self._require(spacing)
        path = array_path(self._shard(index), kind, spacing)
        with _damage_named(path):
            return np.load(path, mmap_mode="r" if mapped else None)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: {REMEDY}") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path}: damaged: {REMEDY}") from None
