"""What a batch is made of: files, folders and manifests, by the names of `chestseg predict`, each with the state of its files."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chestseg.dicom.write_series import write_series
from chestseg.inference.batch_items import list_ct, list_radiographs
from tests.dicom.series_phantom import IDS, phantom


def touch(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return [folder / name for name in names]


def test_a_manifest_names_cases(tmp_path: Path) -> None:
    a, b, c = touch(tmp_path / "in", "a.png", "b.png", "c.png")
    pq.write_table(pa.table({"case_id": ["one", "two"], "image": [str(a), str(b)], "fold": [0, 1]}), tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text(f"case_id,image\n007,{c}\n")
    items = list_radiographs([str(tmp_path / "m.parquet"), str(tmp_path / "m.csv"), str(c)])
    assert [(item.name, item.path) for item in items] == [("one", a), ("two", b), ("007", c), ("c", c)]


def test_a_manifest_without_names_is_as_a_list_of_files(tmp_path: Path) -> None:
    a, b = touch(tmp_path / "in", "a.png", "b.png")
    (tmp_path / "m.csv").write_text(f"image\n{a}\n{b}\n")
    assert [item.name for item in list_radiographs([str(tmp_path / "m.csv")])] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path\na.png\n", "no paths in it: a manifest has .* a column `image`"),
        ("image\n", "no paths in it"),
        ("case_id,image\na,\n", "a row without a path"),
        ("case_id,image\n../a,a.png\n", "'../a' can't name a file"),
        ("case_id,image\n.a,a.png\n", "'.a' can't name a file"),
        ("case_id,image\na,a.png\nA,b.png\n", "two cases of this name"),
        ("case_id,image\na\n", "not a table"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match=said) as refusal:
        list_radiographs([str(tmp_path / "m.csv")])
    assert "\n" not in str(refusal.value)


def test_a_key_changes_with_the_file(tmp_path: Path) -> None:
    [a] = touch(tmp_path, "a.png")
    [first], [same] = list_radiographs([str(a)]), list_radiographs([str(a)])
    a.write_bytes(b"yy")
    [changed] = list_radiographs([str(a)])
    a.unlink()
    [gone] = list_radiographs([str(a)])
    assert first.key == same.key and len({first.key, changed.key, gone.key}) == 3


def test_each_series_of_a_folder_is_an_item(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "one", phantom(), **IDS)
    write_series(tmp_path / "in" / "two", phantom(), **IDS | {"series_uid": "1.2.3.5"})
    items = list_ct([str(tmp_path / "in")])
    assert len(items) == 2 and len({item.name for item in items}) == 2 and {item.source for item in items} == {str(tmp_path / "in")}
    travelled = [pickle.loads(pickle.dumps(item)) for item in items]
    assert {item.series.series_uid for item in travelled if item.series} == {"1.2.3.4", "1.2.3.5"}


def test_a_folder_without_a_series_is_refused_alone(tmp_path: Path) -> None:
    touch(tmp_path / "notes", "notes.dcm")
    np.save(tmp_path / "x.npy", np.zeros(1))
    [item] = list_ct([str(tmp_path / "notes")])
    assert "no CT series" in item.refusal and item.name == "notes"
