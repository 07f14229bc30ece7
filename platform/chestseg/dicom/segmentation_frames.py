"""Where the frames of a segmentation lie, and the images they belong to: one radiograph, or the slices of a volume."""

from dataclasses import dataclass, field

import numpy as np
from highdicom.content import PixelMeasuresSequence, PlanePositionSequence
from highdicom.enum import CoordinateSystemNames
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from chestseg.dicom.multiframe import PER_FRAME, SHARED, frame_attributes, is_multiframe
from chestseg.dicom.segmentation_source import Headers
from chestseg.dicom.series import Series
from chestseg.dicom.series_files import SAME_DIRECTION
from chestseg.dicom.series_stack import ROUNDING_MM
from chestseg.dicom.source import Refused, naming

DECIMALS = 9
"""Of distances in mm: a femtometre is a rounding error of the affine."""


@dataclass(frozen=True, eq=False)
class Frames:
    """What highdicom is given of a mask and its sources."""

    mask: np.ndarray
    """uint8, 0 and 1: (rows, columns), or (slices, rows, columns)."""
    sources: list[Dataset]
    """Headers of equal size."""
    measures: PixelMeasuresSequence | None = None
    """Size of pixels and distance of slices; None for a radiograph."""
    positions: list[PlanePositionSequence] | None = None
    """Of each slice; None for a radiograph, which has no place in the patient."""
    further_sources: list[Dataset] = field(default_factory=list)
    """Headers of the series' slices of another size."""

    @property
    def all_sources(self) -> list[Dataset]:
        """Every image referred to."""
        return [*self.sources, *self.further_sources]


def radiograph_frames(headers: Headers, mask: np.ndarray) -> Frames:
    """One frame, pixel for pixel on the radiograph. It states no size of pixels: that is the source's to say, credible or not.

    Raises:
        ValueError: several images, a CT image or one of several frames, or a mask of another shape.
    """
    name, header = headers.name, headers.images[0]
    with naming(name):
        if len(headers.images) > 1 or int(header.get("NumberOfFrames") or 1) > 1:
            raise Refused("several images or frames and no `series`: give one radiograph, or a CT series as it was read")
        if header.get("Modality") == "CT":
            raise Refused("a CT image and no `series`: give the series as it was read")
        shape = (int(header.Rows), int(header.Columns))
    # A projection has no place in the patient, though some files state one: highdicom would take it for a slice. Pixel measures
    # without a slice thickness, which a projection has not, cannot be read by highdicom.
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        header.pop(keyword, None)
    return Frames(_binary(mask, shape, name), [header])


def series_frames(headers: Headers, series: Series, mask: np.ndarray) -> Frames:
    """A frame for each slice, where its source lies to the last digit; where slices were resampled, on the volume's grid.

    Raises:
        ValueError: a mask of another shape than the volume, images of another series, or an image of the volume that is not given.
    """
    name, grid = headers.name, series.volume.grid
    binary = _binary(mask, grid.shape, name)
    with naming(name):
        places = {str(image.SOPInstanceUID): _positions(image) for image in headers.images}
        if headers.images[0].SeriesInstanceUID != series.series_uid:
            raise Refused(f"images of another series than the volume's, {series.series_uid}: give the files it was read from")
        used = _used(headers.images, series)
        missing = set(series.sop_uids) - {None} - {str(image.SOPInstanceUID) for image in used}
        if missing or not used:
            raise Refused(f"{len(missing)} images of the volume are not among them: give all the files it was read from")
        between, *within = (round(distance, DECIMALS) for distance in grid.spacing)
        measures = PixelMeasuresSequence(within, slice_thickness=_thickness(used[0], between), spacing_between_slices=between)
        orientation = _orientation(used[0])
        for image in used:
            _unify(image, measures, orientation, places[str(image.SOPInstanceUID)])
        positions = [PlanePositionSequence(CoordinateSystemNames.PATIENT, _place(series, i, places)) for i in range(grid.shape[0])]
        # highdicom takes one file of several frames, or files of one size; the others are referred to all the same.
        size = (used[0].Rows, used[0].Columns)
        alike = [not is_multiframe(used[0]) and (image.Rows, image.Columns) == size for image in used]
        alike[0] = True
        sources = [image for image, fits in zip(used, alike, strict=True) if fits]
        return Frames(binary, sources, measures, positions, [image for image, fits in zip(used, alike, strict=True) if not fits])


def _binary(mask: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if mask.shape != shape:
        raise ValueError(f"{name}: a mask of shape {mask.shape} for images of {shape}: give it at the source's size, axes in its order")
    if mask.dtype != bool and not (np.issubdtype(mask.dtype, np.integer) and np.isin(mask, (0, 1)).all()):
        raise ValueError(f"{name}: a mask of {mask.dtype} with values other than 0 and 1: threshold it first")
    return mask.astype(np.uint8)


def _positions(image: Dataset) -> np.ndarray:
    """(frames, 3) mm, LPS+: where each frame's first pixel lies; none for an image without a place."""
    frames = frame_attributes(image) if is_multiframe(image) else [image]
    return np.array([frame.ImagePositionPatient for frame in frames if frame.get("ImagePositionPatient")], np.float64).reshape(-1, 3)


def _used(images: list[Dataset], series: Series) -> list[Dataset]:
    """The images that the volume was made of, in its order; those of another orientation were not."""
    known = set(series.sop_uids)
    axes = series.volume.grid.affine[:3, :3] / series.volume.grid.spacing

    def is_used(image: Dataset) -> bool:
        orientation = _orientation(image)
        if orientation is None or not np.allclose(orientation, [*axes[:, 2], *axes[:, 1]], 0, 2 * SAME_DIRECTION):
            return False
        return None in known or str(image.SOPInstanceUID) in known

    return sorted(filter(is_used, images), key=lambda image: float((_positions(image) @ axes[:, 0]).min()))


def _orientation(image: Dataset) -> list[float] | None:
    frame = next(frame_attributes(image)) if is_multiframe(image) else image
    return frame.get("ImageOrientationPatient")


def _thickness(image: Dataset, otherwise: float) -> float:
    frame = next(frame_attributes(image)) if is_multiframe(image) else image
    stated = float(frame.get("SliceThickness") or 0)
    return stated if stated > 0 else otherwise


def _place(series: Series, index: int, places: dict[str, np.ndarray]) -> list[float]:
    """Where a slice's first pixel lies: as its source says, or as the grid does where it has none."""
    on_grid = series.volume.grid.affine[:3] @ [index, 0, 0, 1]
    uid = series.sop_uids[index]
    if uid is None:
        return on_grid.tolist()
    apart = np.linalg.norm(places[uid] - on_grid, axis=1)
    if apart.min() > min(series.volume.grid.spacing) / 2 + ROUNDING_MM:
        raise Refused(f"image {uid} lies {apart.min():.3g} mm from its slice of the volume: give the files it was read from, unchanged")
    return places[uid][apart.argmin()].tolist()


def _unify(image: Dataset, measures: PixelMeasuresSequence, orientation: list[float] | None, places: np.ndarray) -> None:
    """State what all slices share in one way: highdicom compares it as text, and wants it where the standard allows other places."""
    if not is_multiframe(image):
        image.ImageOrientationPatient = orientation
        image.SliceThickness = measures[0].SliceThickness
        image.SpacingBetweenSlices = measures[0].SpacingBetweenSlices
        return
    planes = Dataset()
    planes.ImageOrientationPatient = orientation
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = measures, [planes]
    image[SHARED].value = [shared]
    image[PER_FRAME].value = [_frame(place) for place in places]


def _frame(place: np.ndarray) -> Dataset:
    position, frame = Dataset(), Dataset()
    position.ImagePositionPatient = [format_number_as_ds(float(part)) for part in place]
    frame.PlanePositionSequence = [position]
    return frame
