"""An upload to a volume: what it is, by its content, whether it may be taken, and reading it as `chestseg predict` does."""

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from chestseg.arrays.grid import Grid
from chestseg.dicom.series import Mode, read_series, report_series
from chestseg.files import NoSpace, sha256_of
from chestseg.inference.unzip import unzipped
from chestseg.inference.volume_inputs import VolumeInput, list_ct_series, read_hu
from chestseg.nifti import read_nifti_grid

NAME = "upload"
"""What errors call it."""
ZIP = b"PK\x03\x04"
PREAMBLE, DICOM = 128, b"DICM"
LONGEST_MM, WIDEST_MM = 2500.0, 1000.0
"""Of a volume's edges: tables move by 2.2 m, gantries open by 0.9 m."""
UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


class Limits(NamedTuple):
    """What one upload may hold."""

    files: int
    slices: int
    voxels: int


class Looked(NamedTuple):
    """What an upload is, before its voxels are read."""

    kind: str
    """`nifti` or `series`."""
    content: str
    """SHA-256: of a NIfTI file, or of a series' files in whatever order and packing they came."""
    slices: int
    voxels: int


class Source(NamedTuple):
    """A volume, and the DICOM files it was read from."""

    case: VolumeInput
    files: tuple[Path, ...]


def look(folder: Path, mode: Mode, limits: Limits) -> Looked:
    """Say what an upload is and refuse at once what its headers show to be no volume to segment. A zip is unpacked in place.

    Args:
        folder: its files, as `receive` writes them.
        mode: what to do about gaps and the like in a series, as for `read_series`.
        limits: what it may hold.

    Raises:
        ValueError: one line, without a word that came with the upload: damaged, too large, no volume, or a series that `mode` refuses.
        NoSpace: a zip does not fit the disk, of which the line tells.
    """
    try:
        [*files] = sorted(folder.iterdir())
        start = _start(files[0])
        if len(files) == 1 and start[:4] == ZIP:
            files = _unpack(files[0], folder, limits)
        elif len(files) == 1 and start[PREAMBLE:] != DICOM:
            grid = read_nifti_grid(files[0], NAME)
            shape = grid.shape
            _within(limits, shape[0], shape[0] * shape[1] * shape[2])
            _require_a_patients_size(grid)
            return Looked("nifti", sha256_of(files[0]), shape[0], shape[0] * shape[1] * shape[2])
        slices, voxels = _look_at_series(files, folder, mode, limits)
        return Looked("series", _joint(sha256_of(file) for file in files), slices, voxels)
    except NoSpace:
        raise
    except ValueError as error:
        raise ValueError(plain(str(error), folder)) from None


def read(folder: Path, kind: str, mode: Mode) -> Source:
    """Read an upload that was looked at.

    Raises:
        ValueError: as `look`, and for what only the voxels show.
    """
    try:
        if kind == "nifti":
            [file] = folder.iterdir()
            return Source(VolumeInput(NAME, Path(NAME), read_hu(file, NAME, "turn them into HU and send it again"), None), ())
        series = read_series(folder, mode)
        _require_a_patients_size(series.volume.grid)
        [(_, chosen), *_] = list_ct_series(NAME, folder, sorted(folder.iterdir()))
        return Source(VolumeInput(NAME, Path(NAME), series.volume, series), chosen.paths)
    except ValueError as error:
        raise ValueError(plain(str(error), folder)) from None
    except OSError as error:
        raise ValueError(f"{NAME}: it can't be read again ({error.strerror}): send it again") from None


def plain(text: str, folder: Path) -> str:
    """An error's line without paths of this machine, and without names and UIDs that came with an upload."""
    return QUOTED.sub("(name)", UID.sub("(UID)", " ".join(text.split()).replace(str(folder), NAME)))


def _start(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(PREAMBLE + len(DICOM))


def _unpack(archive: Path, folder: Path, limits: Limits) -> list[Path]:
    """Put the members of a zip in its place, on the disk where it lies."""
    try:
        with unzipped(archive, most_members=limits.files, below=folder) as members:
            archive.unlink()
            return [Path(shutil.move(file, folder / file.name)) for file in sorted(members.iterdir())]
    except NoSpace:
        raise
    except ValueError as error:
        raise ValueError(str(error).replace(str(archive), NAME)) from None


def _look_at_series(files: list[Path], folder: Path, mode: Mode, limits: Limits) -> tuple[int, int]:
    """Slices and voxels of the series that will be read."""
    found = [series for _, series in list_ct_series(NAME, folder, files)]
    if len(found) > 1 and mode == "strict":
        told = ", ".join(f"{len(series.slices)} {series.plane} slices" for series in found[:4])
        raise ValueError(f"{NAME}: {len(found)} CT series where one is meant ({told}): send one, or ask for repair: the largest is read")
    slices, voxels = len(found[0].slices), sum(one.rows * one.columns for one in found[0].slices)
    _within(limits, slices, voxels)
    refusal = report_series(found[0]).refusal(mode)
    if refusal is not None:
        raise ValueError(refusal)
    return slices, voxels


def _within(limits: Limits, slices: int, voxels: int) -> None:
    if slices > limits.slices or voxels > limits.voxels:
        raise ValueError(
            f"{NAME}: {slices} slices and {voxels} voxels, at most {limits.slices} and {limits.voxels} are taken: crop it to the chest"
        )


def _require_a_patients_size(grid: Grid) -> None:
    """Refuse spacings that are none: a network that sees voxels of millimetres would compute for hours on kilometres."""
    edges = [n * mm for n, mm in zip(grid.shape, grid.spacing, strict=True)]
    _, wide, long = sorted(edges)
    if not (long <= LONGEST_MM and wide <= WIDEST_MM):
        told = "x".join(f"{edge / 1000:.3g}" for edge in edges)
        raise ValueError(f"{NAME}: a scan of {told} m: no scanner is that large; correct the spacing, which is in mm")


def _joint(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
