"""Folds and the frozen test split: whole patients, stratified by positive, drawn from the seed and nothing else."""

import csv
from collections.abc import Sequence
from pathlib import Path

from chestseg.seed import seed_for

TEST = "test"
"""What a folds file says in place of a number for a case of the test split."""


def group_patients(patient_ids: Sequence[str], pixel_hashes: Sequence[str]) -> list[str]:
    """Name the group of each case: cases that share a patient or their pixels, directly or through others, have one name.

    An empty patient id says nothing, so such a case stands alone unless its pixels occur again. Names depend on the
    patient ids and hashes of a group only, not on the order of cases or on other groups.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for patient, pixels in zip(patient_ids, pixel_hashes, strict=True):
        if patient:
            first, second = sorted((root(f"patient:{patient}"), root(f"pixels:{pixels}")))
            parent[second] = first
    return [root(f"pixels:{pixels}") for pixels in pixel_hashes]


def split_patients(
    patient: Sequence[str], positive: Sequence[bool], folds: int, test_share: float, seed: int
) -> tuple[list[int | None], list[str]]:
    """Freeze a test split, then deal the other patients into folds; both are stratified by whether a patient has a positive case.

    Patients are ordered by a hash of the seed and their name, so neither the order of cases nor the number of folds moves a
    patient into or out of the test split.

    Args:
        patient: name of each case's patient (or group, see `group_patients`), never empty.
        positive: whether each case is positive.
        folds: number of folds, at least 2.
        test_share: share of patients in the test split, 0..1; a share above 0 takes one patient at least.
        seed: any integer.

    Returns:
        For each case its fold (None in the test split), and its split, "train" or "test".

    Raises:
        ValueError: fewer patients are left for training than there are folds.
    """
    assert all(patient), "a case without a patient needs a name of its own"
    groups: dict[str, list[bool]] = {}
    for name, is_positive in zip(patient, positive, strict=True):
        groups.setdefault(name, []).append(is_positive)
    order = sorted(groups, key=lambda name: (seed_for("split", seed, name), name))
    test = _test_patients(order, groups, test_share)
    rest = [name for name in order if name not in test]
    if len(rest) < folds:
        raise ValueError(
            f"{len(rest)} patients for {folds} folds ({len(test)} more are the test split): lower data.folds or data.test_share, add cases"
        )
    fold = _deal(rest, groups, folds)
    return [fold.get(name) for name in patient], ["test" if name in test else "train" for name in patient]


def _test_patients(order: list[str], groups: dict[str, list[bool]], share: float) -> set[str]:
    if not share:
        return set()
    positives = [name for name in order if any(groups[name])]
    negatives = [name for name in order if not any(groups[name])]
    wanted = max(1, _rounded(share * len(order)))
    wanted_positives = _rounded(wanted * len(positives) / len(order))
    return {*positives[:wanted_positives], *negatives[: wanted - wanted_positives]}


def _deal(order: list[str], groups: dict[str, list[bool]], folds: int) -> dict[str, int]:
    """Give each patient, those with most positives and cases first, to the fold that has fewest."""
    positives, cases, fold = [0] * folds, [0] * folds, {}
    for name in sorted(order, key=lambda name: (-sum(groups[name]), -len(groups[name]))):
        loads = zip(positives if any(groups[name]) else [0] * folds, cases, range(folds), strict=True)
        fold[name] = chosen = min(loads)[-1]
        positives[chosen] += sum(groups[name])
        cases[chosen] += len(groups[name])
    return fold


def _rounded(value: float) -> int:
    return int(value + 0.5)


def read_folds(path: str | Path, folds: int) -> dict[str, int | None]:
    """Fold of each case a CSV with columns `case_id` and `fold` names; None where it says `test`.

    Raises:
        ValueError: names the file, the line and the remedy.
    """
    assigned: dict[str, int | None] = {}
    for line, case_id, fold in _rows(path, "fold"):
        if fold != TEST and not (fold.isdecimal() and int(fold) < folds):
            raise ValueError(f"{path}, line {line}: fold {fold!r} is neither {TEST!r} nor 0 to {folds - 1}: correct it or set data.folds")
        assigned[case_id] = None if fold == TEST else int(fold)
    unused = sorted(set(range(folds)) - set(assigned.values()))
    if unused:
        raise ValueError(f"{path}: no case is in fold {unused[0]}: set data.folds to the number of folds the file has")
    return assigned


def read_patients(path: str | Path) -> dict[str, str]:
    """Patient of each case a CSV with columns `case_id` and `patient_id` names.

    Raises:
        ValueError: names the file, the line and the remedy.
    """
    return {case_id: patient_id for _, case_id, patient_id in _rows(path, "patient_id")}


def _rows(path: str | Path, column: str) -> list[tuple[int, str, str]]:
    """Line number, case id and `column` of each row, without the spaces around them; other columns are ignored."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or ()]
            if not {"case_id", column} <= set(header):
                raise ValueError(f"{path}: needs the columns case_id and {column}, found {', '.join(header) or 'nothing'}")
            reader.fieldnames = header
            rows = [(reader.line_num, (row["case_id"] or "").strip(), (row[column] or "").strip()) for row in reader]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: correct the path in the experiment's data") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV in UTF-8 ({error}): save it as one") from None
    lines: dict[str, int] = {}
    for line, case_id, _ in rows:
        if case_id in lines:
            raise ValueError(f"{path}, line {line}: case {case_id!r} was already named in line {lines[case_id]}: keep one of them")
        lines[case_id] = line
    return rows
