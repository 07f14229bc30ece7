"""A batch's results: which items are done, and the one table of all."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from chestseg.files import whole_file
from chestseg.inference.batch_items import Item
from chestseg.inference.write import write_rle_table

Row = dict[str, Any]
"""Values of one case by column; those it lacks are null."""

ABOUT = "batch.json"
DONE = ".done"
"""Folder of markers, one an item: written after all its other files."""
RLE = "rle"

RADIOGRAPHS = pa.schema(
    [
        ("case", pa.string()),
        ("source", pa.string()),
        ("probability", pa.float64()),
        ("present", pa.bool_()),
        ("area_px", pa.int64()),
        ("area_cm2", pa.float64()),  # null where the spacing is not known or not credible
        ("model", pa.string()),
        ("version", pa.string()),  # SHA-256 of the bundle
        ("seconds", pa.float64()),  # of reading, segmenting and writing
        ("reason", pa.string()),  # of failure; "" where there was none
    ]
)
VOLUMES = pa.schema(
    [
        ("case", pa.string()),
        ("source", pa.string()),
        ("study_uid", pa.string()),
        ("series_uid", pa.string()),
        ("probability", pa.float64()),
        ("present", pa.bool_()),
        ("volume_ml", pa.float64()),
        ("lung_ml", pa.float64()),
        ("lung_share", pa.float64()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("seconds", pa.float64()),
        ("reason", pa.string()),
    ]
)


def begin(output: Path, about: dict[str, Any]) -> None:
    """Say in the output's folder what makes its results, or find that said already.

    Raises:
        ValueError: other results were begun there.
    """
    path = output / ABOUT
    if not path.exists():
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    differing = [key for key in about if found.get(key) != about[key]]
    if differing:
        key = differing[0]
        raise ValueError(
            f"{output}: holds results of {key} {found.get(key)}, not {about[key]}: give another --output, or what it was begun with"
        )


class Markers:
    """Which items of a batch are done: an item counts when its marker is there and names files of just that size.

    Args:
        output: the batch's folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output

    def rows(self, item: Item) -> list[Row] | None:
        """The rows of an item that is done; None where it, or its source, is not as the marker says."""
        try:
            marker = json.loads(self._path(item).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        whole = all(self._size(name) == size for name, size in marker["files"].items())
        return marker["rows"] if whole and marker["key"] == item.key else None

    def write(self, item: Item, rows: Sequence[Row], files: Sequence[Path]) -> None:
        """Mark an item as done, its `files` being there, and forget how often it was begun."""
        with whole_file(self._path(item)) as temporary:
            temporary.write_text(self._marker(item, rows, files), encoding="utf-8")
        self.forget(item)

    def keep(self, files: Sequence[Path]) -> None:
        """Keep files of an item that is not done; they are where they belong."""

    def begun(self, item: Item) -> int:
        """Note that an item is begun, and say how often it was before without coming to an end."""
        path = self._path(item, ".begun")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            before = file.tell()
            file.write(b".")
        return before

    def forget(self, item: Item) -> None:
        """Of how often an item was begun."""
        self._path(item, ".begun").unlink(missing_ok=True)

    def _marker(self, item: Item, rows: Sequence[Row], files: Sequence[Path]) -> str:
        sizes = {file.relative_to(self.output).as_posix(): file.stat().st_size for file in files}
        return json.dumps({"key": item.key, "rows": rows, "files": sizes})

    def _path(self, item: Item, suffix: str = ".json") -> Path:
        return self.output / DONE / f"{item.name}{suffix}"

    def _size(self, name: str) -> int | None:
        path = self.output / name
        return path.stat().st_size if path.exists() else None


def write_table(output: Path, rows: Sequence[Row], schema: pa.Schema) -> list[Path]:
    """Write `table.parquet` and `table.csv`, and `rle.csv` where rows have run-length codes; says which files."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    paths = [output / "table.parquet", output / "table.csv"]
    with whole_file(paths[0]) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    with whole_file(paths[1]) as temporary:
        pyarrow.csv.write_csv(table, temporary)
    coded = [(row["case"], row[RLE]) for row in rows if RLE in row]
    if coded:
        paths.append(output / "rle.csv")
        write_rle_table(paths[-1], coded)
    return paths


def failures(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows of what could not be segmented."""
    return (row for row in rows if row["reason"])
