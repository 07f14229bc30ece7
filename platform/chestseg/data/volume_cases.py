"""One CT volume with its mask: where it is, before anything is decoded, and what it is, afterwards."""

import os
from dataclasses import dataclass

import numpy as np

from chestseg.arrays.grid import Grid
from chestseg.arrays.hu import Greys, require_hu
from chestseg.arrays.volume import Volume
from chestseg.config import VolumeData
from chestseg.data.ricord_annotations import OutlineFile
from chestseg.dicom.series import read_series
from chestseg.nifti import read_nifti, read_nifti_labels

GREY = (0.0, 255.0)
SAME_PLACE = 0.1
"""Voxels of an image and its mask lie within this share of the shortest voxel edge: headers are rounded, patients are not moved."""


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """One decoded volume and its mask, on the source's own grid."""

    volume: Volume
    """(slices, rows, columns) of HU, int16 or float32."""
    mask: np.ndarray
    """(slices, rows, columns) uint8 of 0 and 1, on the volume's grid."""
    patient_id: str
    """"" where neither the file nor its name tells."""
    sex: str | None
    age: str | None
    modality: str
    notes: tuple[str, ...]
    """What was repaired, converted or passed over while reading, a line each."""


@dataclass(frozen=True)
class LabelFile:
    """A mask as a NIfTI file of integer labels."""

    path: str
    infiltrate: tuple[int, ...]
    """The labels that count."""
    known: tuple[int, ...] | None
    """All labels there may be; None where nobody says."""

    def read(self, grid: Grid, image: str) -> np.ndarray:
        """The mask, uint8 of 0 and 1, on `grid`, that of `image`.

        Raises:
            ValueError: one line that names the file: unreadable, on another grid than the image's, or with unknown labels.
        """
        labels = read_nifti_labels(self.path)
        self._check_grid(labels.grid, grid, image)
        if self.known is not None:
            unknown = np.unique(labels.values[~np.isin(labels.values, self.known)]).tolist()
            if unknown:
                shown = ", ".join(map(str, unknown[:4])) + (", ..." if len(unknown) > 4 else "")
                known = ", ".join(map(str, self.known))
                raise ValueError(f"{self.path}: label {shown} is none of {known}: correct the mask, or say in `labels` what counts")
        return np.isin(labels.values, self.infiltrate).view(np.uint8)

    def _check_grid(self, own: Grid, grid: Grid, image: str) -> None:
        if own.shape != grid.shape:
            raise ValueError(f"{image}: {_size(grid)} voxels, and its mask {self.path} {_size(own)}: use the image on which it was drawn")
        if not own.matches(grid, SAME_PLACE * min(grid.spacing)):
            raise ValueError(
                f"{image}: its mask {self.path} has the same size and lies elsewhere: origin, spacing or orientation differ; "
                "correct the wrong one's header"
            )


@dataclass(frozen=True)
class VolumeSource:
    """Where a case's volume and mask are; small, of plain values only, and travels between processes."""

    case_id: str
    source: str
    """Name of the source it belongs to."""
    image: str
    """Path of the NIfTI file, or of the folder with the series' `files`."""
    patient_id: str = ""
    """As the reader tells from the name; of a series, the files' own PatientID counts."""
    mask: LabelFile | OutlineFile | None = None
    negative: bool = False
    """The publisher, or the user, says that the mask is empty."""
    files: tuple[str, ...] = ()
    """Of a DICOM series: its files, relative to `image`."""
    window: tuple[float, float] | None = None
    """The values that stand for the ends of `data.window`; None where values are HU."""
    grey_hu: tuple[float, float] | None = None
    """What 0 and 255 stand for, in HU, should all values lie between them."""

    @property
    def labelled(self) -> bool:
        """Whether there is a mask, be it empty; what has none is neither positive nor negative."""
        return self.negative or self.mask is not None

    @property
    def mask_path(self) -> str | None:
        """Path of the file with the mask."""
        return self.mask.path if self.mask else None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that is read."""
        images = tuple(os.path.join(self.image, name) for name in self.files) or (self.image,)
        return (*images, *((self.mask.path,) if self.mask else ()))

    def read(self, data: VolumeData) -> VolumeCase:
        """Decode volume and mask; values that are not HU become HU.

        Raises:
            ValueError: one line that names the file: unreadable, values that are not what the source says, a mask on another grid.
        """
        assert self.labelled, self.case_id
        return self._read_series(data) if self.files else self._read_nifti(data)

    def _read_nifti(self, data: VolumeData) -> VolumeCase:
        volume = read_nifti(self.image)
        values, notes = self._hu(volume.values, data.window)
        mask = self.mask.read(volume.grid, self.image) if isinstance(self.mask, LabelFile) else np.zeros(volume.grid.shape, np.uint8)
        return VolumeCase(Volume(values, volume.grid), mask, self.patient_id, None, None, "CT", notes)

    def _read_series(self, data: VolumeData) -> VolumeCase:
        series = read_series([os.path.join(self.image, name) for name in self.files], data.series)
        values, converted = self._hu(series.volume.values, data.window)
        volume, notes = Volume(values, series.volume.grid), (*series.report.repairs, *converted)
        mask = np.zeros(values.shape, np.uint8)
        if isinstance(self.mask, OutlineFile):
            mask, passed_over = self.mask.read(series.sop_uids, volume.grid.shape, self.image)
            notes = (*notes, *passed_over)
        return VolumeCase(volume, mask, series.patient_id, series.sex or None, series.age or None, series.modality, notes)

    def _hu(self, values: np.ndarray, window: tuple[float, float]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Values as HU, and a note where they were not."""
        greys = self._greys(values, window)
        try:
            if greys:
                return greys.to_hu(values), (greys.note,)
            require_hu(values)
        except ValueError as error:
            remedy = "" if greys else ": give the source's `window`, the lowest and highest value"
            raise ValueError(f"{self.image}: {error}{remedy}") from None
        return values, ()

    def _greys(self, values: np.ndarray, window: tuple[float, float]) -> Greys | None:
        """What the values are where the source or its reader says that they are not HU."""
        if self.window is not None:
            return Greys(self.window, window)
        if self.grey_hu is not None and values.min() >= GREY[0] and values.max() <= GREY[1]:
            return Greys(GREY, self.grey_hu)
        return None


def _size(grid: Grid) -> str:
    return "x".join(map(str, grid.shape))
