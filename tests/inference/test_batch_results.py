"""A torn output never counts, and an output holds results of one model."""

from pathlib import Path

import pytest

from chestseg.inference.batch_items import Item
from chestseg.inference.batch_results import RADIOGRAPHS, Markers, begin, write_table

ROWS = [{"case": "a", "present": True, "reason": ""}]


@pytest.fixture
def item(tmp_path: Path) -> Item:
    return Item("a", "a.png", tmp_path / "a.png", "key")


def test_an_item_counts_when_its_files_are_whole(tmp_path: Path, item: Item) -> None:
    markers, mask = Markers(tmp_path), tmp_path / "masks" / "a.png"
    mask.parent.mkdir()
    mask.write_bytes(b"mask")
    assert markers.rows(item) is None
    markers.write(item, ROWS, [mask])
    assert markers.rows(item) == ROWS
    assert markers.rows(Item("a", "a.png", item.path, "another key")) is None
    mask.write_bytes(b"mas")
    assert markers.rows(item) is None
    mask.unlink()
    assert markers.rows(item) is None


def test_a_torn_marker_is_none(tmp_path: Path, item: Item) -> None:
    markers = Markers(tmp_path)
    markers.write(item, ROWS, [])
    path = tmp_path / ".done" / "a.json"
    path.write_text(path.read_text()[:-5])
    assert markers.rows(item) is None


def test_an_output_is_of_one_model(tmp_path: Path) -> None:
    begin(tmp_path, {"version": "a", "formats": ["png"]})
    begin(tmp_path, {"version": "a", "formats": ["png"]})
    with pytest.raises(ValueError, match="holds results of version a, not b: give another --output"):
        begin(tmp_path, {"version": "b", "formats": ["png"]})


def test_the_table_has_failures_too(tmp_path: Path) -> None:
    write_table(tmp_path, [*ROWS, {"case": "b", "reason": "b.png: broken, it is"}], RADIOGRAPHS)
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0].startswith('"case","source","probability"') and lines[2].endswith('"b.png: broken, it is"')
    assert not (tmp_path / "rle.csv").exists()
