"""Cached probabilities: a network's answers to one fold or the test split, read by what needs no second inference.

A folder of shards (`00000.npz`: bytes as `evaluation.levels` packs them, case ids, and what a rule asks of a case) and `cache.json`, which
is written last, by `evaluation.write_probabilities`. One shard at a time is in memory.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field
from tqdm import tqdm

from chestseg.bundle import WEIGHTS, Bundle
from chestseg.config import Postprocessing, Strict, VolumePostprocessing, parse
from chestseg.preprocessing import Preprocessing, VolumePreprocessing

FORMAT = 1
MARKER = "cache.json"
SHARD = {Preprocessing: 64, VolumePreprocessing: 1}
"""Cases in a shard."""


class TrainedNetwork(Strict):
    """Which network answered, and what it did not learn from."""

    digest: str
    """SHA-256 of its weights."""
    dataset_hash: str
    """Of the dataset it was trained on."""
    held_out: int | Literal["all"] | None
    """The fold it did not see; `all` where it saw all of them, None where nobody knows."""

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """What a bundle says of itself."""
        return cls(digest=bundle.spec.files[WEIGHTS], dataset_hash=bundle.spec.dataset_hash, held_out=bundle.spec.experiment.get("fold"))


class Origin(Strict):
    """What cached probabilities are of, and what made them."""

    format: int = FORMAT
    network: TrainedNetwork
    dataset_hash: str
    split: Literal["train", "test"]
    fold: int
    """Of the training split; -1 in the test split."""
    preprocessing: Preprocessing | VolumePreprocessing
    postprocessing: Postprocessing | VolumePostprocessing
    """What shapes the probabilities; what is done with them afterwards is at its defaults."""
    cases: int = Field(ge=0)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it: caches of one digest hold the same."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def shards(self) -> list[range]:
        """Places of the cases in each shard."""
        size = SHARD[type(self.preprocessing)]
        return [range(start, min(start + size, self.cases)) for start in range(0, self.cases, size)]


class CachedCase(NamedTuple):
    """One case at the network's size."""

    case_id: str
    packed: np.ndarray
    """Probabilities and truth, uint8 (S, S) or (D, H, W), as `evaluation.levels` packs them."""
    disease: float | None = None
    """Of the empty-mask head."""
    shown_mm2: float | None = None
    """Square millimetres of the patient on the radiograph; None where the spacing is not credible, and of volumes."""


@dataclass(frozen=True)
class ProbabilityCache:
    """Cases in the order of the manifest, read from disk each time they are gone through."""

    folder: Path
    origin: Origin

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Raises ValueError where there is none, its writing did not end, or another version wrote it."""
        path = Path(folder, MARKER)
        try:
            facts = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            raise ValueError(f"{folder}: no cached probabilities, or their writing did not end: write them again") from None
        if facts.get("format") != FORMAT:
            raise ValueError(f"{path}: format {facts.get('format')}, this version reads {FORMAT}: write the probabilities again")
        return cls(Path(folder), parse(Origin, facts, where=str(path)))

    def __len__(self) -> int:
        return self.origin.cases

    def __iter__(self) -> Iterator[CachedCase]:
        """Raises ValueError where a shard is missing, damaged or of another network."""
        key = self.origin.digest
        for number, places in enumerate(self.origin.shards):
            path = shard_path(self.folder, number)
            try:
                with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                    found, arrays = str(stored["key"]), [stored[name] for name in ("case_ids", "maps", "disease", "shown_mm2")]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(f"{path}: missing or damaged ({error}): write the probabilities again") from None
            if found != key or any(len(array) != len(places) for array in arrays):
                raise ValueError(f"{path}: not what {MARKER} beside it tells of: write the probabilities again")
            for case_id, packed, disease, shown in zip(*arrays, strict=True):
                yield CachedCase(str(case_id), packed, _number(disease), _number(shown))


def cases_of(caches: Sequence[ProbabilityCache], progress: bool = False) -> Iterator[tuple[ProbabilityCache, CachedCase]]:
    """Each case of several caches, with its cache.

    Raises:
        ValueError: a damaged cache, or a case that is in two of them.
    """
    seen: dict[str, Path] = {}
    with tqdm(total=sum(map(len, caches)), desc="read probabilities", unit="case", disable=not progress) as bar:
        for cache in caches:
            for case in cache:
                if case.case_id in seen:
                    raise ValueError(f"case {case.case_id} is in {seen[case.case_id]} and in {cache.folder}: give each case once")
                seen[case.case_id] = cache.folder
                yield cache, case
                bar.update()


def shard_path(folder: Path, number: int) -> Path:
    """File of a shard."""
    return folder / f"{number:05d}.npz"


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
