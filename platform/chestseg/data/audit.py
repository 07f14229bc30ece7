"""The leak audit: no patient and no image may be on both sides of a boundary between folds or splits."""

import pyarrow as pa


def audit(table: pa.Table) -> None:
    """Check a manifest; an empty patient id is no evidence and is passed over.

    Raises:
        ValueError: names two cases of one patient, or with the same pixels, that lie on different sides.
    """
    sides = [
        "the test split" if split == "test" else f"fold {fold}"
        for split, fold in zip(table["split"].to_pylist(), table["fold"].to_pylist(), strict=True)
    ]
    case_ids = table["case_id"].to_pylist()
    for column, shared in (("patient_id", "patient {!r}"), ("pixel_hash", "the same pixels")):
        first: dict[str, tuple[str, str]] = {}
        for value, case_id, side in zip(table[column].to_pylist(), case_ids, sides, strict=True):
            other, other_side = first.setdefault(value, (case_id, side))
            if value and side != other_side:
                raise ValueError(
                    f"leak: cases {other} ({other_side}) and {case_id} ({side}) have {shared.format(value)}: "
                    "give both the same fold in data.folds_file, or correct data.patients_file"
                )
