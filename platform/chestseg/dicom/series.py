"""A CT series to a volume of HU in the patient: from DICOM files, single or multi-frame, in whatever order and state."""

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chestseg.arrays.volume import Volume
from chestseg.dicom.series_files import SeriesFiles, SeriesSource, list_series
from chestseg.dicom.series_findings import is_uid, slice_findings, stack_findings
from chestseg.dicom.series_pixels import read_pixels, to_hu
from chestseg.dicom.series_repair import read_repaired, sources
from chestseg.dicom.series_report import Finding, Mode, SeriesReport
from chestseg.dicom.series_slice import NOT_AN_IMAGE
from chestseg.dicom.series_stack import Stack, stack


@dataclass(frozen=True, eq=False)
class Series:
    """A CT volume and whose it is. Text that the files lack is empty."""

    volume: Volume
    """int16 HU of at least -1024, slices in order along their normal: the cross product of row and column direction."""
    report: SeriesReport
    patient_id: str
    study_uid: str
    series_uid: str
    frame_of_reference: str
    sop_uids: tuple[str | None, ...]
    """SOPInstanceUID of each slice of the volume; None where it has none or the slice was resampled."""
    modality: str
    sex: str
    age: str


def read_series(
    source: SeriesFiles | SeriesSource, mode: Mode = "strict", *, series_uid: str | None = None, threads: int | None = None
) -> Series:
    """Read one CT series as a volume.

    Slices are ordered by ImagePositionPatient along the normal of ImageOrientationPatient (PS3.3 C.7.6.2.1.1), each is converted to HU
    by its own rescale, and what lies below -1024 HU or is padding becomes -1024: air. Slices are decoded one by one into one array.

    Args:
        source: a folder, files, or what `list_series` gave.
        mode: `strict` refuses whatever would have to be resampled, chosen or left out. `repair` does that and says so in the report:
            gaps and uneven distances are interpolated, a tilted gantry and differing pixel grids resampled within the slices' planes,
            the first of duplicates and the largest of several series taken, invalid study and series UIDs replaced by 2.25 ones that are
            the same each time.
        series_uid: the series to read where the source holds several.
        threads: decoding threads; as many as the process may use, up to 8, when None.

    Raises:
        ValueError: one line that names the source, what is wrong and what to do; nothing is decoded before the geometry is accepted.
    """
    report, stacked = _examine(source, series_uid)
    refusal = report.refusal(mode)
    if refusal is not None:
        raise ValueError(refusal)
    assert stacked is not None
    values = _read_regular(stacked, threads) if stacked.regular else read_repaired(stacked, threads)
    first = stacked.slices[0]
    study_uid, uid = first.origin.study_uid, first.origin.series_uid
    if mode == "repair":
        study_uid = repaired_uid(study_uid, "study", first.origin.patient_id)
        uid = repaired_uid(uid, "series", study_uid)
    return Series(
        volume=Volume(values, stacked.grid),
        report=report,
        patient_id=first.origin.patient_id,
        study_uid=study_uid,
        series_uid=uid,
        frame_of_reference=first.origin.frame_of_reference,
        sop_uids=tuple(None if i is None else stacked.slices[i].sop_uid or None for i in sources(stacked)),
        modality=first.modality,
        sex=first.sex,
        age=first.age,
    )


def report_series(source: SeriesFiles | SeriesSource, *, series_uid: str | None = None) -> SeriesReport:
    """Say what reading would find, without reading pixels: damaged pixel data shows only when the series is read.

    Raises:
        ValueError: there is no such file or folder, or no file in it.
    """
    return _examine(source, series_uid)[0]


def repaired_uid(uid: str, *context: str) -> str:
    """A valid UID in place of one that is not: `2.25.` and the integer of a UUID (PS3.5 annex B.2), the same for the same arguments."""
    if is_uid(uid):
        return uid
    try:
        number = uuid.UUID(uid).int
    except ValueError:
        number = uuid.uuid5(uuid.NAMESPACE_OID, "\n".join((uid, *context))).int
    return f"2.25.{number}"


def _read_regular(stacked: Stack, threads: int | None) -> np.ndarray:
    values = np.empty(stacked.grid.shape, np.int16)
    read_pixels(stacked.slices, lambda index, stored: to_hu(stored, stacked.slices[index], values[index]), threads)
    return values


def _examine(source: SeriesFiles | SeriesSource, series_uid: str | None) -> tuple[SeriesReport, Stack | None]:
    listing = [source] if isinstance(source, SeriesFiles) else list_series(source)
    fitting = [s for s in listing if not s.left_out and series_uid in (None, s.series_uid)]
    name = listing[0].name
    if not fitting:
        return SeriesReport(name, series_uid or "", 0, (_nothing(listing, series_uid),)), None
    chosen = fitting[0]
    findings = [*_about_the_others(chosen, fitting, listing), *slice_findings(chosen.slices)]
    stacked = None
    if not any(f.kind == "orientation" for f in findings):
        stacked = stack(chosen.slices)
        findings += stack_findings(stacked)
    if stacked is None or len(stacked.slices) < 2:
        return SeriesReport(name, chosen.series_uid, len(chosen.slices), tuple(findings)), None
    report = SeriesReport(
        name,
        chosen.series_uid,
        len(chosen.slices),
        tuple(findings),
        spacing_mm=stacked.grid.spacing,
        steps_mm=(float(stacked.steps.min()), float(stacked.steps.max())),
        gaps=stacked.gaps,
        duplicates=stacked.duplicates,
        tilt_degrees=stacked.tilt_degrees,
    )
    return report, stacked


def _nothing(listing: list[SeriesFiles], series_uid: str | None) -> Finding:
    if series_uid and any(not s.left_out for s in listing):
        held = ", ".join(s.series_uid for s in listing if not s.left_out)
        return Finding("no_series", "fatal", f"no CT series {series_uid}", f"name one of those it holds: {held}")
    return Finding("no_series", "fatal", f"no CT series to read ({_told(listing)})", "give the files of one")


def _about_the_others(chosen: SeriesFiles, fitting: list[SeriesFiles], listing: list[SeriesFiles]) -> Iterator[Finding]:
    """Findings about what lies beside the chosen series."""
    if len(fitting) > 1:
        told = ", ".join(f"{len(s.slices)} {s.plane} slices of {s.series_uid or 'no UID'}" for s in fitting)
        text = f"{len(fitting)} CT series where one is meant ({told})"
        yield Finding("mixed_series", "repairable", text, "give the files of one, or its SeriesInstanceUID", "the largest is read")
    apart = [s for s in listing if s.left_out]
    strays = [s for s in apart if _is_stray(s, chosen)]
    if strays:
        text = f"files that may be slices of the series cannot be read or placed ({_told(strays)})"
        yield Finding("strays", "repairable", text, "copy or export them again, or take them away", "they are left out")
    rest = [s for s in apart if s not in strays]
    if rest:
        yield Finding("left_out", "note", f"left out: {_told(rest)}")


def _is_stray(apart: SeriesFiles, chosen: SeriesFiles) -> bool:
    if not apart.slices:
        return apart.left_out != NOT_AN_IMAGE
    one = apart.slices[0]
    return apart.series_uid == chosen.series_uid and one.modality == chosen.slices[0].modality and not one.localiser


def _told(listing: list[SeriesFiles]) -> str:
    reasons = Counter({reason: sum(len(s.paths) for s in listing if s.left_out == reason) for reason in {s.left_out for s in listing}})
    return "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
