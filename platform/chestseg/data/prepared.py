"""The prepared dataset: decoded images and masks of every case, read without decoding anything.

What radiographs and volumes share is here; `prepared_radiographs` and `prepared_volumes` read the arrays.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chestseg.config import Data, Spacing

FORMAT = 1
"""Of the folder's layout: `manifest.parquet`, `prepared.json`, `report.json`, `quarantine.csv` and `shards/`."""
REMEDY = "prepare it with `python jobs/prepare.py CONFIG`"


def shard_folder(prepared: Path, shard: int) -> Path:
    """Folder of a shard by its number."""
    return prepared / "shards" / f"{shard:05d}"


def array_path(shard: Path, kind: str, size: int | Spacing) -> Path:
    """File of a shard's `kind` ("image", "mask" and others) at `size`, an edge in pixels or a spacing in mm: in .npy format."""
    edges = (size,) if isinstance(size, int) else size
    return shard / f"{kind}-{'x'.join(np.format_float_positional(edge, trim='-') for edge in edges)}.npy"


class PreparedDataset:
    """Cases in the order of the manifest, by index.

    Nothing but the manifest is read when it is opened. Pixels are read from the page cache when asked for and no file
    is kept open or mapped: a mapping holds a descriptor, and a large set has more arrays than a process may open files.
    It can be pickled and shared among threads and processes.
    """

    KIND: ClassVar[str] = "cases"
    """What it holds, in words."""
    DATA: ClassVar[type[Data]] = Data
    """The settings it is prepared with."""

    def __init__(self, folder: Path, table: pa.Table, facts: dict[str, Any]) -> None:
        self.folder, self.table, self.hash, self.split = folder, table, str(facts["dataset_hash"]), dict[str, float](facts["split"])

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a prepared dataset as what it holds: `PreparedRadiographs` or `PreparedVolumes`.

        Raises:
            ValueError: there is none, its preparation did not end, its layout is of another version, or it holds the other kind.
        """
        from chestseg.data.prepared_radiographs import PreparedRadiographs  # both are built on this class
        from chestseg.data.prepared_volumes import PreparedVolumes

        folder = Path(path)
        try:
            facts = json.loads((folder / "prepared.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{folder}: no prepared dataset, or its preparation did not end: {REMEDY}") from None
        if facts["format"] != FORMAT:
            raise ValueError(f"{folder}: a prepared dataset of format {facts['format']}, this version reads {FORMAT}: {REMEDY}")
        kind = PreparedRadiographs if "sizes" in facts else PreparedVolumes
        if not issubclass(kind, cls):
            raise ValueError(f"{folder}: holds {kind.KIND}, not {cls.KIND}: choose another folder as data.prepared, or change `track`")
        return kind(folder, pq.read_table(folder / "manifest.parquet"), facts)

    def require_split(self, data: Data) -> None:
        """Refuse an experiment of the other kind, or whose split is not the one that was prepared.

        Raises:
            ValueError: names the key and the remedy.
        """
        if not isinstance(data, self.DATA):
            raise ValueError(f"{self.folder} holds {self.KIND}, which `track` is not about: give another folder as data.prepared")
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
