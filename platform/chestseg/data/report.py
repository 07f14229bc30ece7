"""What a preparation read, left out and why: `report.json` and the table that is printed."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from chestseg.config import Data, RadiographData, Spacing, Strict, VolumeData
from chestseg.data.cases import LeftOut
from chestseg.data.folds import read_patients
from chestseg.data.manifest import dataset_hash
from chestseg.data.shards import CaseNote

EXAMPLES = 3
"""Cases named for each reason of leaving out."""
PRINTED = 5
"""Reasons printed of each source; the JSON has all."""


class Reason(Strict):
    """Cases left out for one reason."""

    reason: str
    count: int
    examples: tuple[str, ...]


class Counts(Strict):
    """Prepared cases of a source, a fold or the test split; a case without a patient id counts as a patient."""

    cases: int
    positive: int
    patients: int


class SourceReport(Strict):
    """What became of one source."""

    prepared: Counts
    left_out: tuple[Reason, ...]
    """Never decoded: unlabelled, or not wanted."""
    quarantined: tuple[Reason, ...]
    """Labelled but unreadable; `quarantine.csv` names every one."""


class PrepareReport(Strict):
    """The whole preparation. It holds no time and nothing that depends on how the work was shared out."""

    dataset_hash: str
    sizes: tuple[int, ...] | tuple[Spacing, ...]
    """Edges of radiographs in pixels, or spacings of volumes in mm."""
    sources: dict[str, SourceReport]
    split: dict[str, Counts]
    """By `test`, `fold 0`, `fold 1` and so on."""
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text to print."""
        sources = [("source", "cases", "positive", "patients", "left out", "quarantined")]
        for name, source in self.sources.items():
            sources.append((name, *_numbers(source.prepared), _total(source.left_out), _total(source.quarantined)))
        splits = [("split", "cases", "positive", "patients"), *((name, *_numbers(counts)) for name, counts in self.split.items())]
        reasons = [
            f"{verb}: {reason.count} of {name}: {reason.reason} ({_examples(reason)})"
            for name, source in self.sources.items()
            for verb, group in (("left out", source.left_out), ("quarantined", source.quarantined))
            for reason in group[:PRINTED]
        ]
        notes = [f"note: {note}" for note in self.notes]
        return [*_aligned(sources), "", *_aligned(splits), "", *reasons, *notes, f"dataset {self.dataset_hash}, {self._made()}"]

    def _made(self) -> str:
        spacings = ["x".join(f"{mm:g}" for mm in size) for size in self.sizes if isinstance(size, tuple)]
        return f"spacings {', '.join(spacings)} mm" if spacings else f"sizes {self.sizes}"


def _numbers(counts: Counts) -> tuple[str, str, str]:
    return str(counts.cases), str(counts.positive), str(counts.patients)


def _examples(reason: Reason) -> str:
    return ", ".join(reason.examples) + ", ..." * (reason.count > EXAMPLES)


def _total(reasons: Iterable[Reason]) -> str:
    return str(sum(reason.count for reason in reasons))


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [row[0].ljust(first) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], others, strict=True)) for row in rows]


def build_report(
    table: pa.Table, left_out: Sequence[LeftOut], quarantine: Sequence[LeftOut], case_notes: Sequence[CaseNote], data: Data
) -> PrepareReport:
    """Count what a manifest holds and what it lacks."""
    rows = table.select(["case_id", "patient_id", "source", "positive", "pixel_hash", "mask_hash", "fold", "split"]).to_pylist()
    names = sorted({case.source for case in (*left_out, *quarantine)} | {row["source"] for row in rows})
    sources = {
        name: SourceReport(
            prepared=_counts(row for row in rows if row["source"] == name),
            left_out=_reasons((case.reason, case.case_id) for case in left_out if case.source == name),
            quarantined=_reasons((case.reason, case.case_id) for case in quarantine if case.source == name),
        )
        for name in names
    }
    folds = {f"fold {fold}": _counts(row for row in rows if row["fold"] == fold) for fold in range(data.folds)}
    split = {"test": _counts(row for row in rows if row["split"] == "test"), **folds}
    notes = (*_patient_notes(rows, data), *_duplicate_notes(rows), *_fold_notes(folds), *_case_notes(case_notes))
    assert isinstance(data, RadiographData | VolumeData), type(data)
    sizes = data.sizes if isinstance(data, RadiographData) else data.spacings
    return PrepareReport(dataset_hash=dataset_hash(table), sizes=sizes, sources=sources, split=split, notes=notes)


def _counts(rows: Iterable[dict[str, Any]]) -> Counts:
    rows = list(rows)
    patients = {row["patient_id"] or ("", row["case_id"]) for row in rows}
    return Counts(cases=len(rows), positive=sum(row["positive"] for row in rows), patients=len(patients))


def _reasons(left_out: Iterable[tuple[str, str]]) -> tuple[Reason, ...]:
    cases: dict[str, list[str]] = defaultdict(list)
    for reason, case_id in left_out:
        cases[reason].append(case_id)
    reasons = [Reason(reason=reason, count=len(ids), examples=tuple(sorted(ids)[:EXAMPLES])) for reason, ids in cases.items()]
    return tuple(sorted(reasons, key=lambda reason: (-reason.count, reason.reason)))


def _patient_notes(rows: list[dict[str, Any]], data: Data) -> Iterator[str]:
    unknown = sum(not row["patient_id"] for row in rows)
    if unknown:
        yield f"{unknown} cases have no PatientID: each is taken for a patient of its own"
    if _counts(rows).patients == len(rows):
        yield "no patient has two cases, so grouping by patient says nothing: if people have several images, give data.patients_file"
    if data.patients_file:
        named = read_patients(data.patients_file)
        yield f"data.patients_file names {sum(row['case_id'] in named for row in rows)} of {len(rows)} cases"


def _duplicate_notes(rows: list[dict[str, Any]]) -> Iterator[str]:
    same: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        same[row["pixel_hash"]].append(row)
    copies = [group for group in same.values() if len(group) > 1]
    for column, finding in (
        ("case_id", "occur more than once, in one fold each time"),
        ("patient_id", "occur under different patients, which were put in one fold"),
        ("mask_hash", "occur with different masks: check which is right"),
    ):
        groups = [group for group in copies if len({row[column] for row in group}) > 1]
        if groups:
            yield f"{len(groups)} images {finding} (for example {groups[0][0]['case_id']} and {groups[0][1]['case_id']})"


def _fold_notes(folds: dict[str, Counts]) -> Iterator[str]:
    for name, counts in folds.items():
        if not counts.positive:
            yield f"{name} has no positive case: Dice on positives cannot be measured there"


def _case_notes(case_notes: Sequence[CaseNote]) -> Iterator[str]:
    for name in sorted({note.source for note in case_notes}):
        for reason in _reasons((note.note, note.case_id) for note in case_notes if note.source == name):
            yield f"{reason.count} of {name}: {reason.reason} ({_examples(reason)})"
