"""Files to series: which slices belong together, and which files are no part of a CT volume and why."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chestseg.dicom.series_slice import Geometry, Slice, read_slices

SAME_DIRECTION = 1e-3
"""Greatest difference of a direction cosine within a series; over a field of view of 350 mm it moves a pixel by a third of a millimetre."""
FEWEST_SLICES = 2

SeriesSource = str | Path | Sequence[str | Path]
"""A folder, searched with its sub-folders, or files."""


@dataclass(frozen=True, eq=False)
class SeriesFiles:
    """Slices of one patient, study, series, frame of reference and orientation; or files that make no CT volume, for one reason."""

    name: str
    """Folder or file, as errors call it."""
    left_out: str = ""
    """Why these files are not read as a volume; empty for a CT series."""
    slices: tuple[Slice, ...] = ()
    """In no order. Empty for files that are not images."""
    paths: tuple[Path, ...] = field(default=())

    @property
    def patient_id(self) -> str:
        """PatientID; empty where absent."""
        return self.slices[0].origin.patient_id if self.slices else ""

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID; empty where absent."""
        return self.slices[0].origin.study_uid if self.slices else ""

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; empty where absent."""
        return self.slices[0].origin.series_uid if self.slices else ""

    @property
    def description(self) -> str:
        """SeriesDescription; empty where absent."""
        return self.slices[0].description if self.slices else ""

    @property
    def plane(self) -> str:
        """The anatomical plane closest to the slices: axial, coronal or sagittal; empty where their orientation is not known."""
        if not self.slices or self.slices[0].geometry is None:
            return ""
        row, column = np.reshape(self.slices[0].geometry.orientation, (2, 3))
        return ("sagittal", "coronal", "axial")[int(np.abs(np.cross(row, column)).argmax())]


def list_series(source: SeriesSource) -> list[SeriesFiles]:
    """Group DICOM files by series: the CT series first, the largest of them before the others; then what is left out, by reason.

    Left out are localisers, other modalities, colour images, images without a place in the patient, single images and files that
    are not DICOM images. Only attributes are read. Hidden files are passed over.

    Raises:
        ValueError: there is no such file or folder, or the folder is empty.
    """
    name, paths = _find(source)
    groups: defaultdict[tuple, list[Slice]] = defaultdict(list)
    apart: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            slices = read_slices(path)
        except ValueError as error:
            apart[str(error).removeprefix(f"{path}: ")].append(path)
            continue
        for one in slices:
            groups[(_unfit(one), one.origin)].append(one)
    series = [_series(name, reason, part) for (reason, _), group in groups.items() for part in _by_orientation(group)]
    series += [SeriesFiles(name, reason, paths=tuple(files)) for reason, files in apart.items()]
    return sorted(series, key=lambda s: (bool(s.left_out), -len(s.slices), s.slices[0].series_number if s.slices else 0, s.series_uid))


def _find(source: SeriesSource) -> tuple[str, list[Path]]:
    if not isinstance(source, (str, Path)):
        paths = [Path(path) for path in source]
        name = str(paths[0].parent if len(paths) > 1 else paths[0]) if paths else "series"
    elif Path(source).is_dir():
        name = str(source)
        inside = ((path, path.relative_to(source)) for path in Path(source).rglob("*"))
        paths = sorted(path for path, place in inside if not any(part.startswith(".") for part in place.parts) and path.is_file())
    else:
        name, paths = str(source), [Path(source)]
    if not paths:
        raise ValueError(f"{name}: no files: give a folder of DICOM files")
    missing = next((path for path in paths if not path.is_file()), None)
    if missing:
        raise ValueError(f"{missing}: no such file: check the path")
    return name, paths


def _unfit(one: Slice) -> str:
    """Why a slice is no part of a CT volume, or nothing."""
    if one.modality != "CT":
        return f"modality {one.modality or 'not given'}, only CT is read"
    if one.localiser:
        return "localiser"
    if one.channels != 1:
        return "colour image"
    return "" if one.geometry else "no position, orientation or pixel spacing"


def _by_orientation(slices: list[Slice]) -> list[list[Slice]]:
    groups: list[tuple[Geometry | None, list[Slice]]] = []
    for one in slices:
        for first, group in groups:
            if first is None or one.geometry is None or np.allclose(first.orientation, one.geometry.orientation, 0, SAME_DIRECTION):
                group.append(one)
                break
        else:
            groups.append((one.geometry, [one]))
    return [group for _, group in groups]


def _series(name: str, reason: str, slices: list[Slice]) -> SeriesFiles:
    if not reason and len(slices) < FEWEST_SLICES:
        reason = "a single slice is not a volume"
    return SeriesFiles(name, reason, tuple(slices), tuple(dict.fromkeys(one.path for one in slices)))
