"""The manifest has one row a case with its place, patient, fold and split, and a hash of all that matters."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from chestseg.config import RadiographData, Source
from chestseg.data.manifest import CASE, MANIFEST, build_manifest, dataset_hash, write_table


def shards(count: int = 12) -> list[pa.Table]:
    rows: list[dict[str, Any]] = [
        dict.fromkeys(CASE.names)
        | {"case_id": f"c{i:02d}", "patient_id": f"p{i // 2}", "positive": i % 4 == 0, "pixel_hash": f"x{i}", "mask_hash": f"m{i}"}
        for i in range(count)
    ]
    return [pa.Table.from_pylist(part, schema=CASE) for part in (rows[:7], rows[7:])]


def data(**settings: Any) -> RadiographData:
    return RadiographData(sources=(Source(reader="image_folder", path="x"),), prepared="y", **{"folds": 3, "test_share": 0.2, **settings})


def test_each_case_has_its_place_and_its_side() -> None:
    table = build_manifest(shards(), data())
    assert table.schema == MANIFEST
    assert table["shard"].to_pylist() == [0] * 7 + [1] * 5 and table["row"].to_pylist() == [*range(7), *range(5)]
    assert [split == "test" for split in table["split"].to_pylist()] == [fold < 0 for fold in table["fold"].to_pylist()]
    assert {f for f in table["fold"].to_pylist() if f >= 0} == {0, 1, 2}
    assert table["fold"].to_pylist()[::2] == table["fold"].to_pylist()[1::2]


def test_folds_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text("case_id,fold\n" + "".join(f"c{i:02d},{'test' if i < 2 else i % 3}\n" for i in range(12)))
    table = build_manifest(shards(), data(folds_file=str(path)))
    assert table["fold"].to_pylist() == [-1, -1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert table["split"].to_pylist() == ["test"] * 2 + ["train"] * 10


def test_patients_file_overrules(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("case_id,patient_id\nc00,ann\nc11,ann\nelsewhere,ben\n")
    table = build_manifest(shards(), data(patients_file=str(path)))
    assert table["patient_id"].to_pylist() == ["ann", *[f"p{i // 2}" for i in range(1, 11)], "ann"]
    assert len({table["fold"].to_pylist()[i] for i in (0, 11)}) == 1


def test_patients_file_of_other_cases_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("case_id,patient_id\nelsewhere,ben\n")
    with pytest.raises(ValueError, match=r"names none of the 12 cases, the first of which is 'c00'"):
        build_manifest(shards(), data(patients_file=str(path)))


def test_hash_follows_pixels_masks_and_split_only() -> None:
    table = build_manifest(shards(), data())
    assert len(dataset_hash(table)) == 16
    changed = {
        name: dataset_hash(table.set_column(table.column_names.index(name), name, pa.array(values, MANIFEST.field(name).type)))
        for name, values in (
            ("pixel_hash", [f"y{i}" for i in range(12)]),
            ("mask_hash", ["m"] * 12),
            ("fold", [0] * 12),
            ("split", ["train"] * 12),
            ("image", ["elsewhere"] * 12),
        )
    }
    assert changed.pop("image") == dataset_hash(table)
    assert len({dataset_hash(table), *changed.values()}) == 5


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / name, build_manifest(shards(), data()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
