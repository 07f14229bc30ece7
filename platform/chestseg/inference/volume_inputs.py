"""Which volumes to segment, and reading them: NIfTI files, folders of DICOM series, zips of series."""

import functools
import glob
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chestseg.arrays.hu import Greys, require_hu
from chestseg.arrays.volume import Volume
from chestseg.dicom.series import Mode, Series, SeriesFiles, list_series, read_series
from chestseg.inference.inputs import MAGIC, PREAMBLE
from chestseg.inference.unzip import unzipped
from chestseg.nifti import read_nifti
from chestseg.preprocessing import VolumePreprocessing

NIFTI = (".nii.gz", ".nii")
ZIP = ".zip"
DICOM = (".dcm", ".dicom")
OPTION = "--window"
NO_WINDOW = f"{OPTION} is for volumes, and this model segments radiographs, whose files say what their values are: leave it out"
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


def read_volumes(
    places: Sequence[Path], refused: Callable[[str], None], mode: Mode = "strict", greys: Greys | None = None
) -> Iterator[VolumeInput]:
    """Read volume after volume, each when it is asked for.

    A series is named after its place, and by twelve digits of the SHA-256 of its UID where the place holds several.

    Args:
        places: of `list_volumes`.
        refused: called with one line for each place or series that can't be read; the others are read.
        mode: what to do about gaps, duplicates, a tilted gantry and the like in a series, as for `read_series`.
        greys: what NIfTI files hold, where that is not HU.
    """
    for name, place in zip(place_names(places), places, strict=True):
        try:
            yield from read_place(name, place, refused, mode, greys)
        except ValueError as error:
            refused(" ".join(str(error).split()))


def read_place(
    name: str, place: Path, refused: Callable[[str], None], mode: Mode = "strict", greys: Greys | None = None
) -> Iterator[VolumeInput]:
    """Read the volumes of one place, as `read_volumes` does, which calls it `name`.

    Raises:
        ValueError: the place can't be read at all; one line that names it.
    """
    if place.is_dir():
        yield from _read_series(name, place, dicom_files(place), refused, mode)
    elif place.name.lower().endswith(NIFTI):
        remedy = f"turn them into HU, or say by {OPTION} which values are the lowest and the highest"
        yield VolumeInput(name, place, read_hu(place, str(place), remedy, greys), None)
    elif place.name.lower().endswith(ZIP):
        with unzipped(place) as folder:
            named = functools.partial(_say_of, str(folder), str(place), refused)
            yield from _read_series(name, place, sorted(folder.iterdir()), named, mode)
    else:
        yield from _read_series(name, place, [place], refused, mode)


def said_greys(window: tuple[float, float] | None, preprocessing: VolumePreprocessing) -> Greys | None:
    """What `--window` says of NIfTI files: its ends are those of the model's window, as `prepare` takes those of a source.

    Raises:
        ValueError: the ends are in the wrong order.
    """
    if window is None:
        return None
    if window[0] >= window[1]:
        raise ValueError(f"{OPTION} {window[0]:g},{window[1]:g}: the lowest value comes first")
    return Greys(window, preprocessing.window, OPTION)


def read_hu(source: Path | bytes, name: str, remedy: str, greys: Greys | None = None) -> Volume:
    """Read a NIfTI file of HU, or of `greys` that become HU.

    A volume that is not HU is segmented without complaint, and wrongly: it is refused as `prepare` refuses it.

    Args:
        source: a path or the bytes of a file, as for `read_nifti`.
        name: what errors call it.
        remedy: what the user can do about values that are not HU.
        greys: what the values are; HU when None.

    Raises:
        ValueError: as `read_nifti`, and for values that are not what they should be; one line that begins with the name.
    """
    volume = read_nifti(source, name)
    try:
        if greys:
            return Volume(greys.to_hu(volume.values), volume.grid)
        require_hu(volume.values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}{'' if greys else f': {remedy}'}") from None
    return volume


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
