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
from chestseg.config.location import is_uri
from chestseg.data.basis import differences
from chestseg.data.manifest import dataset_hash
from chestseg.storage.copies import node_copy, place_of
from chestseg.storage.objects import Objects

FORMAT = 1
"""Of the folder's layout: `manifest.parquet`, `prepared.json`, `report.json`, `quarantine.csv` and `shards/`."""
MARKER, MANIFEST = "prepared.json", "manifest.parquet"
REMEDY = "prepare it with `python jobs/prepare.py CONFIG`"


def shard_folder(prepared: Path, shard: int) -> Path:
    """Folder of a shard by its number."""
    return prepared / "shards" / f"{shard:05d}"


def array_path(shard: Path, kind: str, size: int | Spacing) -> Path:
    """File of a shard's `kind` ("image", "mask" and others) at `size`, an edge in pixels or a spacing in mm: in .npy format."""
    edges = (size,) if isinstance(size, int) else size
    return shard / f"{kind}-{'x'.join(np.format_float_positional(edge, trim='-') for edge in edges)}.npy"


def require_own_manifest(folder: Path) -> None:
    """Refuse a copy whose manifest is not the one that was published, or that lacks a shard.

    Raises:
        ValueError: names the file and the remedy.
    """
    published, table = json.loads((folder / "report.json").read_text())["dataset_hash"], pq.read_table(folder / MANIFEST)
    if dataset_hash(table) != published:
        raise ValueError(f"{folder / MANIFEST}: not the manifest of dataset {published}: {REMEDY} again")
    for shard in sorted(set(table["shard"].to_pylist())):
        if not (shard_folder(folder, shard) / "done.json").exists():
            raise ValueError(f"{shard_folder(folder, shard)}: missing in the bucket: {REMEDY} again")


class PreparedDataset:
    """Cases in the order of the manifest, by index.

    Nothing but the manifest is read when it is opened. Pixels are read from the page cache when asked for and no file
    is kept open or mapped: a mapping holds a descriptor, and a large set has more arrays than a process may open files.
    It can be pickled and shared among threads and processes. Of one that lies in a bucket each machine has a copy, which is fetched when
    the dataset is opened there, or arrives from another machine.
    """

    KIND: ClassVar[str] = "cases"
    """What it holds, in words."""
    DATA: ClassVar[type[Data]] = Data
    """The settings it is prepared with."""
    uri: str | None = None
    """Where it lies, if that is in a bucket."""

    def __init__(self, folder: Path, table: pa.Table, facts: dict[str, Any]) -> None:
        self.folder, self.table, self.hash, self.split = folder, table, str(facts["dataset_hash"]), dict[str, float](facts["split"])
        self.basis: dict[str, Any] = facts.get("basis", {})
        """As `basis_of` made it; empty of a dataset that an earlier version prepared."""

    @classmethod
    def open(cls, path: str | Path, *, arrays: bool = True) -> Self:
        """Open a prepared dataset as what it holds: `PreparedRadiographs` or `PreparedVolumes`.

        Args:
            path: its folder, or its URI.
            arrays: False where only the manifest is looked at: of a dataset in a bucket nothing else is fetched then.

        Raises:
            ValueError: there is none, its preparation did not end, its layout is of another version, it holds the other kind, or what
                came from the bucket is not what was put there.
        """
        folder = Path(path)
        try:
            if is_uri(path):
                return cls._of_bucket(str(path), arrays)
            return cls._checked(str(folder), folder, (folder / MARKER).read_bytes(), folder / MANIFEST)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{path}: no prepared dataset, or its preparation did not end: {REMEDY}") from None

    @classmethod
    def _of_bucket(cls, uri: str, arrays: bool) -> Self:
        if arrays:
            copy = node_copy(uri, MARKER, require_own_manifest)
            dataset = cls._checked(uri, copy, (copy / MARKER).read_bytes(), copy / MANIFEST)
        else:
            objects = Objects(uri)
            dataset = cls._checked(uri, place_of(uri), objects.read(MARKER), pa.BufferReader(objects.read(MANIFEST)))
        dataset.uri = uri
        return dataset

    @classmethod
    def _checked(cls, where: str, folder: Path, marker: bytes, manifest: Path | pa.BufferReader) -> Self:
        from chestseg.data.prepared_radiographs import PreparedRadiographs  # both are built on this class
        from chestseg.data.prepared_volumes import PreparedVolumes

        facts = json.loads(marker)
        if facts["format"] != FORMAT:
            raise ValueError(f"{where}: a prepared dataset of format {facts['format']}, this version reads {FORMAT}: {REMEDY}")
        kind = PreparedRadiographs if "sizes" in facts else PreparedVolumes
        if not issubclass(kind, cls):
            raise ValueError(f"{where}: holds {kind.KIND}, not {cls.KIND}: choose another folder as data.prepared, or change `track`")
        return kind(folder, pq.read_table(manifest), facts)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arriving in another process; on another machine the copy may have to be fetched first."""
        self.__dict__.update(state)
        if self.uri and not (self.folder / MARKER).exists():
            self.folder = node_copy(self.uri, MARKER, require_own_manifest)

    def require_split(self, data: Data) -> None:
        """Refuse an experiment of the other kind, or whose split or labels are not those that were prepared.

        Raises:
            ValueError: names the key and the remedy.
        """
        if not isinstance(data, self.DATA):
            raise ValueError(f"{self.folder} holds {self.KIND}, which `track` is not about: give another folder as data.prepared")
        for key, value in data.split.items():
            if self.split.get(key, value) != value:
                raise ValueError(f"{self.folder} was prepared with data.{key} {self.split[key]}, now it is {value}: {REMEDY} again")
        for difference in differences(self.basis, data):
            raise ValueError(f"{self.folder} was prepared with {difference}: {REMEDY} again")

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
