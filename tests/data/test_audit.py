"""The audit refuses one patient, or one image, on two sides."""

import pyarrow as pa
import pytest

from chestseg.data.audit import audit


def manifest(*rows: tuple[str, str, str, int]) -> pa.Table:
    names = ("case_id", "patient_id", "pixel_hash", "fold")
    table = [dict(zip(names, row, strict=True)) | {"split": "test" if row[3] < 0 else "train"} for row in rows]
    return pa.Table.from_pylist(table)


def test_whole_patients_and_empty_ids_pass() -> None:
    table = manifest(("a", "ann", "1", 0), ("b", "ann", "2", 0), ("c", "", "3", 1), ("d", "", "4", -1), ("e", "eva", "5", 1))
    assert audit(table) is None


def test_divided_patient_is_refused() -> None:
    rows = manifest(("a", "ann", "1", 0), ("b", "ben", "2", 1), ("c", "ann", "3", 1))
    with pytest.raises(ValueError, match=r"cases a \(fold 0\) and c \(fold 1\) have patient 'ann': give both the same fold"):
        audit(rows)


def test_same_pixels_across_the_test_split_are_refused() -> None:
    rows = manifest(("a", "", "1", 0), ("b", "ben", "1", -1))
    with pytest.raises(ValueError, match=r"cases a \(fold 0\) and b \(the test split\) have the same pixels"):
        audit(rows)
