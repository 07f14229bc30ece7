"""The prepared dataset: decoded images and masks of every case, read without decoding anything."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.config import Data

FORMAT = 1
"""Of the folder's layout: `manifest.parquet`, `prepared.json`, `report.json`, `quarantine.csv` and `shards/`."""
HEADER = 128
"""Bytes before the first pixel of a shard's array."""
REMEDY = "prepare it with `python jobs/prepare.py CONFIG`"


def shard_folder(prepared: Path, shard: int) -> Path:
    """Folder of a shard by its number."""
    return prepared / "shards" / f"{shard:05d}"


def array_path(shard: Path, kind: str, size: int) -> Path:
    """File of a shard's `kind` ("image" or "mask") at `size`: uint8 (n, size, size) in .npy format."""
    return shard / f"{kind}-{size}.npy"


class PreparedDataset:
    """Cases in the order of the manifest, by index.

    Nothing but the manifest is read when it is opened. Pixels are read from the page cache when asked for and no file
    is kept open or mapped: a mapping holds a descriptor, and a large set has more arrays than a process may open files.
    It can be pickled and shared among threads and processes.
    """

    def __init__(self, folder: Path, table: pa.Table, sizes: Sequence[int], dataset_hash: str, split: dict[str, float]) -> None:
        self.folder, self.table, self.sizes, self.hash, self.split = folder, table, tuple(sorted(sizes)), dataset_hash, split

    @classmethod
    def open(cls, path: str | Path) -> "PreparedDataset":
        """Open a prepared dataset.

        Raises:
            ValueError: there is none, its preparation did not end, or its layout is of another version.
        """
        folder = Path(path)
        try:
            facts = json.loads((folder / "prepared.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{folder}: no prepared dataset, or its preparation did not end: {REMEDY}") from None
        if facts["format"] != FORMAT:
            raise ValueError(f"{folder}: a prepared dataset of format {facts['format']}, this version reads {FORMAT}: {REMEDY}")
        return cls(folder, pq.read_table(folder / "manifest.parquet"), facts["sizes"], facts["dataset_hash"], facts["split"])

    def require_split(self, data: Data) -> None:
        """Refuse an experiment whose split is not the one that was prepared.

        Raises:
            ValueError: names the key and the remedy.
        """
        for key, value in data.split.items():
            if self.split.get(key, value) != value:
                raise ValueError(f"{self.folder} was prepared with data.{key} {self.split[key]}, now it is {value}: {REMEDY} again")

    def __len__(self) -> int:
        return len(self.table)

    def indices(self, split: str = "train", fold: int | None = None, exclude_fold: int | None = None) -> np.ndarray:
        """Indices (int64, ascending) of the cases in a split; of one fold, or of all folds but one."""
        chosen = np.array(self.table["split"].to_pylist()) == split
        if fold is not None:
            chosen &= self.fold == fold
        if exclude_fold is not None:
            chosen &= self.fold != exclude_fold
        return np.flatnonzero(chosen)

    @cached_property
    def case_ids(self) -> list[str]:
        """Id of each case."""
        return self.table["case_id"].to_pylist()

    @cached_property
    def patient_ids(self) -> list[str]:
        """Patient of each case, for grouping: a case without a PatientID is a patient of its own. The table keeps the file's word."""
        named = zip(self.table["patient_id"].to_pylist(), self.case_ids, strict=True)
        return [patient or f"case {case_id}" for patient, case_id in named]

    @cached_property
    def positive(self) -> np.ndarray:
        """Whether each case has a mask that is not empty, bool."""
        return self.table["positive"].to_numpy()

    @cached_property
    def fold(self) -> np.ndarray:
        """Fold of each case, int32; -1 in the test split."""
        return self.table["fold"].to_numpy()

    @cached_property
    def _places(self) -> np.ndarray:
        return np.stack([self.table["shard"].to_numpy(), self.table["row"].to_numpy()], axis=1)

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
