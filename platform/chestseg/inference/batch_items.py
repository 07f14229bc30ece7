"""What a batch has to segment: a list of items that can be shared out, each known by name and by the state of its files."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from chestseg.dicom.series import SeriesFiles
from chestseg.inference.batch_places import Copied, Places
from chestseg.inference.inputs import case_names, list_images
from chestseg.inference.volume_inputs import dicom_files, list_ct_series, list_volumes, place_names

MANIFESTS = (".parquet", ".csv")
IMAGE, CASE_ID = "image", "case_id"
LONGEST_NAME = 200
"""Of a case, in bytes: file systems take 255, and its files have suffixes and temporary names."""


@dataclass(frozen=True, eq=False)
class Item:
    """One radiograph, one CT series, or one file that holds volumes: what one process does in one go."""

    name: str
    """Among the results, fit for a file; a zip of several series adds to it."""
    source: str
    """As it was named; tables, records and errors call it so."""
    path: Path
    """The same from everywhere: absolute. Of an item in a bucket, its copy."""
    key: str
    """Changes when one of its files does."""
    series: SeriesFiles | None = None
    """The series, where a folder of DICOM files holds it."""
    refusal: str = ""
    """Why there is nothing to segment, where listing showed it already."""
    copied: Copied | None = None
    """Its files, where they lie in a bucket: whoever works on it brings them first."""


def list_radiographs(named: Sequence[str]) -> list[Item]:
    """Items of radiographs, in a fixed order.

    Args:
        named: files, folders and patterns as for `list_images`, URIs of buckets, of folders and of single objects, or manifests: Parquet
            or CSV tables whose column `image` has paths, as seen from the working folder, or URIs, and `case_id` names, where there is
            such a column. What lies in a bucket is copied to this machine.

    Raises:
        ValueError: no image there, a manifest that is none, or two cases of one name.
    """
    places = Places()
    return [_item(name, path, [path], places) for name, path in _named(named, list_images, case_names, places)]


def list_ct(named: Sequence[str]) -> list[Item]:
    """Items of volumes, as of radiographs; each series of a folder is one, and is named as `read_volumes` names it.

    Only headers are read. A folder without a CT series is an item with a refusal.
    """
    places = Places()
    return [item for name, place in _named(named, list_volumes, place_names, places) for item in _items_of_place(name, place, places)]


def _named(
    named: Sequence[str], expand: Callable[[Sequence[str]], list[Path]], name: Callable[[Sequence[Path]], list[str]], places: Places
) -> list[tuple[str, Path]]:
    """Names and paths, of the manifests first."""
    manifests = [given for given in named if given.lower().endswith(MANIFESTS) and Path(places.here(given)).is_file()]
    others = [places.here(given) for given in named if given not in manifests]
    with places.named():
        paths = expand(others) if others else []
    listed = [case for manifest in manifests for case in _read_manifest(manifest, name, places)]
    listed += zip(name([Path(places.name_of(path)) for path in paths]), paths, strict=True)
    times = Counter(case.casefold() for case, _ in listed)
    twice = next((case for case, _ in listed if times[case.casefold()] > 1), None)
    if twice is not None:
        raise ValueError(f"{twice}: two cases of this name: give each its own `{CASE_ID}` in the manifest")
    return listed


def _read_manifest(path: str, name: Callable[[Sequence[Path]], list[str]], places: Places) -> list[tuple[str, Path]]:
    file = places.here(path)
    try:
        table = pq.read_table(file) if path.lower().endswith(".parquet") else _read_csv(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a table ({' '.join(str(error).split())[:160]}): give Parquet or CSV") from None
    if IMAGE not in table.column_names or not len(table):
        raise ValueError(f"{path}: no paths in it: a manifest has a row for each case and their paths in a column `{IMAGE}`")
    images = table[IMAGE].to_pylist()
    if not all(isinstance(image, str) and image for image in images):
        raise ValueError(f"{path}: a row without a path in its column `{IMAGE}`: give each case one")
    names = [str(case) for case in table[CASE_ID].to_pylist()] if CASE_ID in table.column_names else name([Path(i) for i in images])
    wrong = next((case for case in names if not _fits_a_file(case)), None)
    if wrong is not None:
        raise ValueError(f"{path}: {CASE_ID} {wrong[:80]!r} can't name a file: give 1 to {LONGEST_NAME} bytes without slashes")
    return list(zip(names, places.rows(images), strict=True))


def _read_csv(path: str) -> pa.Table:
    """Ids are text, though they may look like numbers."""
    options = pyarrow.csv.ConvertOptions(column_types={IMAGE: pa.string(), CASE_ID: pa.string()}, strings_can_be_null=False)
    return pyarrow.csv.read_csv(path, convert_options=options)


def _fits_a_file(name: str) -> bool:
    return name.isprintable() and 0 < len(name.encode()) <= LONGEST_NAME and not name.startswith(".") and not set(name) & set("/\\")


def _items_of_place(name: str, place: Path, places: Places) -> list[Item]:
    if not place.is_dir():
        return [_item(name, place, [place], places)]
    try:
        with places.named():
            found = list_ct_series(name, place, dicom_files(Path(os.path.abspath(place))))
    except ValueError as error:
        return [Item(name, places.name_of(place), Path(os.path.abspath(place)), "", refusal=" ".join(str(error).split()))]
    return [_item(called, place, series.paths, places, series) for called, series in found]


def _item(name: str, source: Path, files: Sequence[Path], places: Places, series: SeriesFiles | None = None) -> Item:
    path, key = Path(os.path.abspath(source)), _key(files, places)
    return Item(name, places.name_of(source), path, key, series, copied=places.copied(files))


def _key(files: Sequence[Path], places: Places) -> str:
    """Sixteen digits of the files' paths or URIs, sizes and times; a file that is gone counts as empty."""
    digest = hashlib.sha256()
    for file in files:
        path = os.path.abspath(file)
        state = os.stat(path) if os.path.exists(path) else None
        known = f"{places.name_of(Path(path))}\0{state and state.st_size}\0{state and state.st_mtime_ns}\n"
        digest.update(known.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
