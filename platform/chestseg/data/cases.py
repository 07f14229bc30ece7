"""One radiograph with its mask: where it is, before anything is decoded, and what it is, afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chestseg.arrays.rle import SIIM_SHAPE, decode_rle
from chestseg.data.volume_cases import VolumeSource
from chestseg.dicom.mask import read_mask
from chestseg.dicom.radiograph import Radiograph, read_radiograph


@dataclass(frozen=True, eq=False)
class Case:
    """One decoded radiograph and its mask."""

    radiograph: Radiograph
    mask: np.ndarray
    """(H, W) uint8 of 0 and 1, at the size of the pixels."""

    @property
    def pixels(self) -> np.ndarray:
        """(H, W) uint8, bright where the body is dense."""
        return self.radiograph.pixels


@dataclass(frozen=True)
class CaseSource:
    """Where a case's image and mask are; small, and travels between processes."""

    case_id: str
    source: str
    """Name of the source it belongs to."""
    image: str
    """Path of the image file."""
    rle: tuple[str, ...] | None = None
    """Run-length coded rows of the mask."""
    rle_shape: tuple[int, int] = SIIM_SHAPE
    """(rows, columns) of the image for which `rle` was made."""
    mask_path: str | None = None
    negative: bool = False
    """The publisher says that the mask is empty."""
    sop_uid: str | None = None
    """The SOPInstanceUID the image must have, if it has one."""

    @property
    def labelled(self) -> bool:
        """Whether there is a mask, be it empty; what has none is neither positive nor negative."""
        return self.negative or self.rle is not None or self.mask_path is not None

    def read(self) -> Case:
        """Decode image and mask.

        Raises:
            ValueError: one line that names the file: unreadable, another image than its name says, or a mask of another size.
        """
        assert self.labelled, self.case_id
        radiograph = read_radiograph(self.image)
        if self.sop_uid and radiograph.sop_uid not in (None, self.sop_uid):
            raise ValueError(
                f"{self.image}: its SOPInstanceUID is {radiograph.sop_uid}, not its file name: restore the file from the archive"
            )
        return Case(radiograph, self._read_mask(radiograph.pixels.shape))

    def _read_mask(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.mask_path is not None:
            mask, origin = read_mask(self.mask_path), self.mask_path
        elif self.rle is not None:
            mask, origin = decode_rle(self.rle, self.rle_shape), f"the run-length code of {self.case_id}"
        else:
            return np.zeros(shape, np.uint8)
        if mask.shape != shape:
            raise ValueError(
                f"{self.image}: the image is {shape[0]}x{shape[1]} and {origin} is {mask.shape[0]}x{mask.shape[1]}: "
                "use the image for which the mask was drawn"
            )
        return mask


@dataclass(frozen=True)
class LeftOut:
    """A file or a table's row that makes no case, and why; the same reason is worded the same, so that reasons can be counted."""

    case_id: str
    path: str
    reason: str
    source: str


@dataclass(frozen=True)
class Listing:
    """What a source holds, in the order of case ids; all cases are labelled."""

    cases: Sequence[CaseSource | VolumeSource]
    left_out: list[LeftOut]
