"""A preparation's two ends: what there is to decode, and the publication of what was decoded."""

import csv
import itertools
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chestseg.config import Data, Source
from chestseg.config.location import is_uri
from chestseg.data.audit import audit
from chestseg.data.basis import basis_of
from chestseg.data.cases import CaseSource, LeftOut
from chestseg.data.folds import read_folds
from chestseg.data.manifest import build_manifest, write_table
from chestseg.data.prepared import FORMAT, shard_folder
from chestseg.data.readers import list_cases
from chestseg.data.report import PrepareReport, build_report
from chestseg.data.shards import Shard, is_finished, kind_of, plan_shards, read_shard
from chestseg.data.volume_cases import VolumeSource
from chestseg.files import require_space, whole_file
from chestseg.storage.copies import here

OWN_NAME = re.compile(r"\d{5}|\.\d{5}\..*")
"""Names of shards, and of shards that were being written."""


@dataclass(frozen=True)
class Preparation:
    """A prepared dataset in the making."""

    data: Data
    folder: Path
    shards: list[Shard]
    pending: list[Shard]
    """Those that are not finished, or were made of other files or with other settings."""
    left_out: list[LeftOut]
    """Cases that are not decoded, and why."""
    arrays: bool = True
    """False where the folder holds what a bucket's shards say of themselves, and no pixels."""

    @property
    def cases(self) -> int:
        """Number of labelled cases."""
        return sum(len(shard.cases) for shard in self.shards)

    @property
    def summary(self) -> str:
        """What there is to do, in one line."""
        finished = len(self.shards) - len(self.pending)
        where = self.folder if self.arrays else self.data.prepared
        return f"{where}: {self.cases} labelled cases in {len(self.shards)} shards, {finished} finished; {len(self.left_out)} left out"


def plan(data: Data, copy: Path | None = None) -> Preparation:
    """List the cases and find what is left to decode; nothing is written, but for the copy of a source that lies in a bucket.

    Args:
        data: sources, sizes or spacings, and split.
        copy: of a dataset in a bucket, a folder with what the finished shards say of themselves.

    Raises:
        ValueError: a folder or table that is missing or wrong, fewer labelled cases than folds, no space on the disk.
    """
    listing = list_cases(tuple(map(_at_hand, data.sources)))
    cases, unwanted = listing.cases, []
    if data.folds_file:
        cases, unwanted = _named(listing.cases, listing.left_out, data.folds_file, data.folds)
    if len(cases) < data.folds:
        raise ValueError(f"{len(cases)} labelled cases for {data.folds} folds: lower data.folds or add cases")
    folder, arrays = copy or Path(data.prepared).absolute(), copy is None
    shards = plan_shards(cases, data)
    pending = [shard for shard in shards if not is_finished(shard, folder, arrays=arrays)]
    if arrays:
        require_space(folder, kind_of(data).bytes_per_case * sum(len(shard.cases) for shard in pending), "the prepared dataset")
    return Preparation(data, folder, shards, pending, [*listing.left_out, *unwanted], arrays)


def _at_hand(source: Source) -> Source:
    """The source with a path that workers, whose working directory may be another, can read."""
    name = source.path.rstrip("/").rpartition("/")[2] if is_uri(source.path) else None
    return source.model_copy(update={"path": str(here(source.path).absolute()), "name": source.name or name})


def _named(
    cases: Sequence[CaseSource | VolumeSource], left_out: list[LeftOut], path: str, folds: int
) -> tuple[list[CaseSource | VolumeSource], list[LeftOut]]:
    """The cases a folds file names, and the others."""
    named = read_folds(path, folds)
    unknown = sorted(named.keys() - {case.case_id for case in [*cases, *left_out]})
    if unknown:
        raise ValueError(f"{path}: no source has case {unknown[0]!r} ({len(unknown)} unknown in all): correct it or add the source")
    others = [LeftOut(case.case_id, case.image, "not in data.folds_file", case.source) for case in cases if case.case_id not in named]
    return [case for case in cases if case.case_id in named], others


def publish(preparation: Preparation) -> PrepareReport:
    """Split, audit and publish what was decoded: the marker `prepared.json`, without which nobody opens the folder, comes last.

    Raises:
        ValueError: shards are missing, no case could be read, files that do not fit, fewer patients than folds, a leak. Then
            nothing is published; an earlier publication stays if nothing had to be decoded.
    """
    folder, data = preparation.folder, preparation.data
    missing = [shard for shard in preparation.shards if not is_finished(shard, folder, arrays=preparation.arrays)]
    if missing:
        raise ValueError(f"{shard_folder(folder, missing[0].index)} is not there: data.prepared must be a folder that all nodes share")
    tables, quarantines, notes = zip(*(read_shard(shard, folder) for shard in preparation.shards), strict=True)
    quarantine = list(itertools.chain(*quarantines))
    if not any(map(len, tables)):
        raise ValueError(f"none of the {len(quarantine)} labelled cases can be read; {quarantine[0].path}: {quarantine[0].reason}")
    manifest = build_manifest(tables, data)
    audit(manifest)
    report = build_report(manifest, preparation.left_out, quarantine, list(itertools.chain(*notes)), data)
    withdraw(folder)
    write_table(folder / "manifest.parquet", manifest)
    _write_quarantine(folder / "quarantine.csv", quarantine)
    with whole_file(folder / "report.json") as temporary:
        temporary.write_text(report.model_dump_json(indent=1))
    _remove_strays(preparation)
    marker = {"format": FORMAT, **kind_of(data).settings, "dataset_hash": report.dataset_hash, "split": data.split, "basis": basis_of(data)}
    with whole_file(folder / "prepared.json") as temporary:
        temporary.write_text(json.dumps(marker))
    return report


def withdraw(prepared: Path) -> None:
    """Take back a publication: the folder is about to change."""
    (prepared / "prepared.json").unlink(missing_ok=True)


def _remove_strays(preparation: Preparation) -> None:
    """Remove shards of an earlier, larger dataset and what killed preparations left, and nothing that has another name."""
    wanted = {shard_folder(preparation.folder, shard.index) for shard in preparation.shards}
    for folder in set(shard_folder(preparation.folder, 0).parent.iterdir()) - wanted:
        if OWN_NAME.fullmatch(folder.name) and folder.is_dir():
            shutil.rmtree(folder)


def _write_quarantine(path: Path, quarantine: list[LeftOut]) -> None:
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("case_id", "path", "reason"))
        writer.writerows((case.case_id, case.path, case.reason) for case in quarantine)
