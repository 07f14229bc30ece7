"""Which volumes to segment, and reading them: NIfTI files, folders of DICOM series, zips of series."""

import functools
import glob
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chestseg.arrays.volume import Volume
from chestseg.dicom.series import Mode, Series, SeriesFiles, list_series, read_series
from chestseg.inference.inputs import MAGIC, PREAMBLE
from chestseg.inference.unzip import unzipped
from chestseg.nifti import read_nifti

NIFTI = (".nii.gz", ".nii")
ZIP = ".zip"
DICOM = (".dcm", ".dicom")
SHOWN = 3
DIGITS = 12


@dataclass(frozen=True, eq=False)
class VolumeInput:
    """A volume to segment."""

    name: str
    """Its name among the results, fit for a file."""
    source: str | Path
    """What was named: a file, a folder or a zip, or the URI of one."""
    volume: Volume
    """HU."""
    series: Series | None
    """Whose it is, where it came as DICOM; its volume is the same."""


def list_volumes(named: Sequence[str | Path]) -> list[Path]:
    """Expand files, folders and glob patterns to places that hold volumes, each once, in a fixed order.

    A place is a NIfTI file, a zip, or the files of DICOM series: a folder, searched with its sub-folders, or an enhanced multi-frame
    file. A folder also stands for the NIfTI files and zips below it. What is named is taken as it is, so that reading it can say what is
    wrong.

    Raises:
        ValueError: a pattern that matches nothing, or a folder without files.
    """
    found: dict[Path, None] = {}
    for name in named:
        found |= dict.fromkeys(_expand(Path(name)))
    return list(found)


def read_volumes(places: Sequence[Path], refused: Callable[[str], None], mode: Mode = "strict") -> Iterator[VolumeInput]:
    """Read volume after volume, each when it is asked for.

    A series is named after its place, and by twelve digits of the SHA-256 of its UID where the place holds several.

    Args:
        places: of `list_volumes`.
        refused: called with one line for each place or series that can't be read; the others are read.
        mode: what to do about gaps, duplicates, a tilted gantry and the like in a series, as for `read_series`.
    """
    for name, place in zip(place_names(places), places, strict=True):
        try:
            yield from read_place(name, place, refused, mode)
        except ValueError as error:
            refused(" ".join(str(error).split()))


def read_place(name: str, place: Path, refused: Callable[[str], None], mode: Mode = "strict") -> Iterator[VolumeInput]:
    """Read the volumes of one place, as `read_volumes` does, which calls it `name`.

    Raises:
        ValueError: the place can't be read at all; one line that names it.
    """
    if place.is_dir():
        yield from _read_series(name, place, dicom_files(place), refused, mode)
    elif place.name.lower().endswith(NIFTI):
        yield VolumeInput(name, place, read_nifti(place), None)
    elif place.name.lower().endswith(ZIP):
        with unzipped(place) as folder:
            named = functools.partial(_say_of, str(folder), str(place), refused)
            yield from _read_series(name, place, sorted(folder.iterdir()), named, mode)
    else:
        yield from _read_series(name, place, [place], refused, mode)


def dicom_files(folder: Path) -> list[Path]:
    """The files of a folder and its sub-folders that may belong to DICOM series, in a fixed order."""
    return [path for path in _files_below(folder) if not path.name.lower().endswith((*NIFTI, ZIP))]


def list_ct_series(name: str, place: Path, files: Sequence[Path]) -> list[tuple[str, SeriesFiles]]:
    """The CT series among the files of a place called `name`, and what to call each.

    Raises:
        ValueError: there is none; names the place and what was found instead.
    """
    listed = list_series(files) if files else []
    found = [replace(series, name=str(place)) for series in listed if not series.left_out]
    if not found:
        reasons = "; ".join(f"{series.left_out} ({len(series.paths)} files)" for series in listed[:SHOWN])
        raise ValueError(f"{place}: no CT series: {reasons or 'no files'}: name a NIfTI file, or the folder or zip of a series")
    return list(zip(_series_names(name, found), found, strict=True))


def _read_series(name: str, place: Path, files: Sequence[Path], refused: Callable[[str], None], mode: Mode) -> Iterator[VolumeInput]:
    try:
        found = list_ct_series(name, place, files)
    except ValueError as error:
        refused(str(error))
        return
    for called, series in found:
        try:
            read = read_series(series, mode)
        except ValueError as error:
            refused(str(error))
            continue
        yield VolumeInput(called, place, read.volume, read)


def _say_of(folder: str, place: str, refused: Callable[[str], None], line: str) -> None:
    """Name the zip where an error names the folder it was unpacked to."""
    refused(line.replace(folder, place))


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        return _places_below(path)
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise ValueError(f"{path}: no file matches this pattern: check it, and quote it where the shell should not expand it")
    return [place for match in matches for place in (_places_below(Path(match)) if os.path.isdir(match) else [Path(match)])]


def _places_below(folder: Path) -> list[Path]:
    files = list(_files_below(folder))
    places = [path for path in files if path.name.lower().endswith((*NIFTI, ZIP))]
    if not files:
        raise ValueError(f"{folder}: no files in this folder: name one with NIfTI files, zips or DICOM series")
    # Beside NIfTI files there may be tables and notes, which are not worth an error.
    return places if places and not any(_is_dicom(path) for path in files) else [*places, folder]


def _files_below(folder: Path) -> Iterator[Path]:
    """All files but hidden ones, in a fixed order; links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in DICOM:
        return True
    with open(path, "rb") as file:
        return file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC


def place_names(places: Sequence[Path]) -> list[str]:
    """A name for each place, fit for a file: without its suffix, and with digits of its path's hash where names are equal."""
    stems = [_stem(place) for place in places]
    times = Counter(stem.casefold() for stem in stems)
    return [s if times[s.casefold()] == 1 else f"{s}-{_digits(place.as_posix())}" for s, place in zip(stems, places, strict=True)]


def _stem(place: Path) -> str:
    name = place.name or place.resolve().name or "volume"
    if not place.is_dir():
        name = next((name[: -len(end)] for end in (*NIFTI, ZIP, *DICOM) if name.lower().endswith(end) and len(name) > len(end)), name)
    return name


def _series_names(name: str, series: Sequence[SeriesFiles]) -> list[str]:
    if len(series) == 1:
        return [name]
    keys = [f"{one.study_uid} {one.series_uid} {one.plane}" for one in series]
    # What has the same key keeps the order of `list_series`.
    keys = [f"{key} {keys[:place].count(key)}" for place, key in enumerate(keys)]
    return [f"{name}-{_digits(key)}" for key in keys]


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
