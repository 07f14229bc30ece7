"""Prepared radiographs: squares of grey values and masks, many to a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.config import RadiographData
from chestseg.data.prepared import REMEDY, PreparedDataset, array_path, shard_folder

HEADER = 128
"""Bytes before the first pixel of a shard's array, which is uint8 (n, size, size)."""


class PreparedRadiographs(PreparedDataset):
    """Radiographs by index, at any size up to the largest that was prepared."""

    KIND = "radiographs"
    DATA = RadiographData

    def __init__(self, folder: Path, table: pa.Table, facts: dict[str, Any]) -> None:
        super().__init__(folder, table, facts)
        self.sizes: tuple[int, ...] = tuple(sorted(facts["sizes"]))

    def image(self, index: int, size: int) -> np.ndarray:
        """Image of a case, (size, size) uint8. A size that was not prepared is made from the next larger one.

        Raises:
            ValueError: `size` is larger than all that were prepared, or the file is damaged.
        """
        return resize_image(self._plane("image", index, size), size)

    def mask(self, index: int, size: int) -> np.ndarray:
        """Mask of a case, (size, size) uint8 of 0 and 1; as `image` otherwise."""
        return resize_mask(self._plane("mask", index, size), size)

    def _plane(self, kind: str, index: int, size: int) -> np.ndarray:
        edge = next((prepared for prepared in self.sizes if prepared >= size), None)
        if edge is None:
            raise ValueError(f"size {size} is larger than the prepared {self.sizes[-1]}: add it to data.sizes and prepare again")
        shard, row = (int(place) for place in self._places[index])
        path = array_path(shard_folder(self.folder, shard), kind, edge)
        try:
            plane = np.fromfile(path, np.uint8, edge * edge, offset=HEADER + row * edge * edge)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}: {REMEDY}") from None
        if plane.size != edge * edge:
            raise ValueError(f"{path}: cut short: {REMEDY}")
        return plane.reshape(edge, edge)
