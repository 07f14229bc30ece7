"""What is wrong with the slices of a series, and how wrong: the rules by which strict and repair mode refuse or go on."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.uid import RE_VALID_UID

from chestseg.dicom.series_pixels import padding_hu
from chestseg.dicom.series_report import Finding, Level
from chestseg.dicom.series_slice import Slice
from chestseg.dicom.series_stack import Stack, geometry_of

MOST_SLICES = 2048
"""A chest in slices of 0.25 mm has 1,600."""
MOST_VOXELS = 2**30
"""2 GB as int16."""
LARGEST_GAP_MM = 20.0
"""One missing slice of 10 mm; what is interpolated over more is invention."""
PERPENDICULAR = 1e-3
LONGEST_UID = 64
UNSPECIFIED = "US"
"""RescaleType of values whose unit is not given (PS3.3 C.11.1.1.2)."""
RESCALE_REMEDY = "export the original CT series, with the scanner's rescale"


def slice_findings(slices: Sequence[Slice]) -> Iterator[Finding]:
    """Findings that do not depend on how the slices lie to one another."""
    yield from _uids(slices)
    yield from _geometry(slices)
    yield from _rescale(slices)
    padded = next((one for one in slices if one.padding), None)
    if padded and padded.padding:
        yield Finding("padding", "note", f"padding value {padded.padding[0]} ({padding_hu(padded):g} HU) becomes air")


def stack_findings(stacked: Stack) -> Iterator[Finding]:
    """Findings about how slices lie to one another; empty for slices that are a volume as they stand."""
    if stacked.duplicates:
        yield Finding(
            "duplicates", "repairable", f"slices in the place of another: {stacked.duplicates} (copies, or several acquisitions)",
            "give one acquisition without copies", "the first by acquisition and instance number is kept",
        )  # fmt: skip
    if len(stacked.slices) < 2:
        yield Finding("few_slices", "fatal", "all slices lie in one place", "a volume needs at least two, give the whole series")
        return
    yield from _spacing(stacked)
    yield from _within_the_plane(stacked)
    count, rows, columns = stacked.grid.shape
    count = max(count, len(stacked.slices))
    if count > MOST_SLICES or count * rows * columns > MOST_VOXELS:
        yield Finding(
            "too_large", "fatal",
            f"a volume of {count} slices of {rows}x{columns}, more than {MOST_SLICES} slices or {MOST_VOXELS / 2**20:.0f} million voxels",
            "give one acquisition of the chest",
        )  # fmt: skip


def is_uid(text: str) -> bool:
    """Whether a text is a valid UID (PS3.5 section 9.1)."""
    return 0 < len(text) <= LONGEST_UID and re.fullmatch(RE_VALID_UID, text) is not None


def _uids(slices: Sequence[Slice]) -> Iterator[Finding]:
    first = slices[0].origin
    wrong = [name for name, uid in (("study", first.study_uid), ("series", first.series_uid)) if not is_uid(uid)]
    wrong += ["SOP instance"] if any(not is_uid(one.sop_uid) for one in slices) else []
    wrong += [] if is_uid(first.frame_of_reference) else ["frame of reference"]
    if wrong:
        text = f"missing or invalid UIDs ({', '.join(wrong)}): results cannot refer to these images, nor can an archive store them"
        yield Finding("uids", "note", text, repair="those of study and series are replaced")


def _geometry(slices: Sequence[Slice]) -> Iterator[Finding]:
    row, column = np.reshape(geometry_of(slices[0]).orientation, (2, 3))
    if np.abs([row @ column, row @ row - 1, column @ column - 1]).max() > PERPENDICULAR:
        written = "\\".join(f"{cosine:g}" for cosine in (*row, *column))
        yield Finding("orientation", "fatal", f"ImageOrientationPatient {written} is not two perpendicular unit vectors", "export it again")
    narrowest = min(min(geometry_of(one).spacing) for one in slices)
    if narrowest <= 0:
        yield Finding("orientation", "fatal", f"PixelSpacing of {narrowest:g} mm", "export the series again")


def _rescale(slices: Sequence[Slice]) -> Iterator[Finding]:
    rescales = {(one.slope, one.intercept) for one in slices}
    units = {one.rescale_type for one in slices} - {"", "HU"}
    if any(slope is None or intercept is None for slope, intercept in rescales):
        signed = all(one.signed for one in slices)
        text = "no RescaleSlope and RescaleIntercept in some slices"
        yield Finding("rescale", "repairable" if signed else "fatal", text, RESCALE_REMEDY, "stored values are HU" if signed else "")
    elif any(not slope for slope, _ in rescales):
        yield Finding("rescale", "fatal", "RescaleSlope is 0", RESCALE_REMEDY)
    elif len(rescales) > 1:
        yield Finding("rescale_differs", "note", f"rescale differs between slices ({len(rescales)} pairs): each is converted by its own")
    if units:
        text = f"RescaleType is {', '.join(sorted(units))}, not HU"
        level, repair = ("repairable", "values are taken as HU") if units == {UNSPECIFIED} else ("fatal", "")
        yield Finding("rescale", level, text, RESCALE_REMEDY, repair)


def _spacing(stacked: Stack) -> Iterator[Finding]:
    longest, gaps = float(stacked.steps.max()), stacked.gaps
    remedy, repair = "give all slices of one acquisition", "what lies between slices is interpolated at even distances"
    level: Level = "repairable"
    if longest > LARGEST_GAP_MM:
        level, repair = "fatal", ""
    if gaps:
        missing, worst = sum(gap.missing for gap in gaps), max(gaps, key=lambda gap: gap.length_mm)
        text = f"missing slices: {missing}, the longest gap {worst.length_mm:g} mm after slice {worst.after_slice + 1}"
        yield Finding("gaps", level, text, remedy, repair)
    if not stacked.even:
        yield Finding("uneven", level, f"slices lie {stacked.steps.min():.3g} to {longest:.3g} mm apart", remedy, repair)
    elif not gaps and level == "fatal":
        yield Finding("gaps", level, f"slices lie {longest:.3g} mm apart, which leaves most of the body out", remedy)


def _within_the_plane(stacked: Stack) -> Iterator[Finding]:
    resampled = "slices are resampled within their planes to one perpendicular grid"
    stated = max(abs(one.tilt) for one in stacked.slices)
    if stacked.tilt_degrees:
        text = f"the gantry is tilted by {stacked.tilt_degrees:.1f} degrees"
        yield Finding("tilt", "repairable", text, "give a series reconstructed without tilt", resampled)
    elif not stacked.straight:
        text = f"slices are shifted by up to {np.abs(stacked.places[:, 1:]).max():.3g} mm within their planes"
        yield Finding("shifted", "repairable", text, "give slices of one reconstruction", resampled)
    elif stated > 0.1:
        yield Finding("tilt_not_seen", "note", f"GantryDetectorTilt is {stated:g} degrees, positions show none and are believed")
    sizes = Counter(f"{r.rows}x{r.columns} at {r.spacing[0]:.3g}x{r.spacing[1]:.3g} mm" for r in stacked.rasters)
    if len(set(stacked.rasters)) > 1:
        text = "slices differ in size or pixel spacing: " + ", ".join(f"{n} of {size}" for size, n in sizes.most_common(3))
        yield Finding("shapes_differ", "repairable", text, "give slices of one reconstruction", resampled)
