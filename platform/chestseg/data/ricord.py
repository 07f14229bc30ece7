"""MIDRC-RICORD-1A: 120 chest CTs as DICOM in a tree, and radiologists' outlines in one JSON (Tsai et al. 2021; CC BY-NC 4.0, on TCIA).

TCIA's download has `MIDRC-RICORD-1A/<patient>/<study>/<series>/*.dcm`; the annotations, an export of MD.ai, come beside it. A study has
several series, of which some are coronal or sagittal, and the readers outlined findings on one or two of them.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from chestseg.config import Source
from chestseg.data.cases import LeftOut, Listing
from chestseg.data.pairs import NO_IMAGE
from chestseg.data.ricord_annotations import DRAWN, Annotations, Outline, OutlineFile, read_annotations
from chestseg.data.tree import source_name
from chestseg.data.volume_cases import VolumeSource
from chestseg.dicom.series import SeriesFiles, list_series

INFILTRATES = ("Infectious opacity", "Infectious TIB/micronodules")
"""What counts as infiltrate unless the source's `labels` say otherwise. The other drawn labels are Infectious cavity, Atelectasis, Other
noninfectious opacity and Noninfectious nodule/mass."""
ANNOTATIONS = ".json"

NOT_AXIAL = "{} series, only axial ones are read"
NOT_ANNOTATED = "no annotation of its study"
OTHER_SERIES = "outlines are on another series of its study"
EXAM_ONLY = "labels of the whole exam only, no outline"
OTHER_LABELS = "outlines of other labels only"
LINES_LOST = "labelled, but without outlines"
PART = "a smaller part of a series that lies in several places"
MULTI_FRAME = "several images in one file, of which outlines cannot be told apart"


def list_ricord(source: Source) -> Listing:
    """Cases of a folder with RICORD's DICOM files anywhere below it and the annotations in it or one level down; a case is a series.

    Only attributes of the files are read. Outlines and series are joined by UID. Left out, and counted by reason: series that are not
    axial, localisers and the like; series nobody annotated or outlined; those with outlines of other labels than `labels`, and those
    whose outlines the export has lost. Where the source says `without_mask: negative`, an axial series is negative if its study was
    annotated and has no outline at all, or if the series has outlines of other labels only.

    Raises:
        ValueError: one line that names the file or folder: missing, not one export, labels it does not draw, no series with outlines.
    """
    root, name = Path(source.path), source_name(source)
    path = _find_annotations(root)
    annotations = read_annotations(path)
    labels = _labels(source, annotations, path)
    cases: list[VolumeSource] = []
    left_out: list[LeftOut] = []
    series = list_series(_images(root))
    for one in series:
        reason, negative = _reason(one, annotations, labels)
        if (negative or not reason) and any(case.case_id == one.series_uid for case in cases):
            reason, negative = PART, False
        if reason and not (negative and source.without_mask == "negative"):
            left_out += [LeftOut(case_id, place, reason, name) for case_id, place in _called(one)]
        else:
            mask = None if reason else OutlineFile(str(path), one.series_uid, labels, source.annotators)
            cases.append(_case(one, name, mask))
    if not cases:
        raise ValueError(
            f"{root}: none of {len(series)} series there has an outline of {' or '.join(labels)} in {path}: unpack RICORD's images"
        )
    there = {one.series_uid for one in series}
    left_out += [LeftOut(uid, str(path), NO_IMAGE, name) for uid in sorted(annotations.outlines) if uid not in there]
    return Listing(sorted(cases, key=lambda case: case.case_id), left_out)


def _find_annotations(root: Path) -> Path:
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder: correct data.sources, or unpack RICORD there")
    found = sorted(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.suffix.lower() == ANNOTATIONS)
    if len(found) != 1:
        many = f"{found[0].name} and {found[1].name} could both be the annotations" if found else "no .json file with the annotations"
        raise ValueError(f"{root}: {many}: put MIDRC-RICORD-1a_annotations_labelgroup_all_2020-Dec-8.json there, and no other")
    return found[0]


def _images(root: Path) -> list[Path]:
    """All files but hidden ones and JSON."""
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(root, followlinks=True)
        for name in names
        if not name.startswith(".") and not name.lower().endswith(ANNOTATIONS)
    ]
    if not found:
        raise ValueError(f"{root}: no file beside the annotations: unpack RICORD's images there")
    return sorted(found)


def _labels(source: Source, annotations: Annotations, path: Path) -> tuple[str, ...]:
    """Names of the labels that count, as the export writes them."""
    drawn = {name.casefold(): name for name, scope in annotations.scopes.items() if scope == DRAWN}
    wanted = source.labels if source.labels is not None else [name for name in INFILTRATES if name.casefold() in drawn]
    wrong = [label for label in wanted if str(label).casefold() not in drawn]
    if wrong or not wanted:
        which = f"`labels` names {wrong[0]!r}" if wrong else f"it draws neither {' nor '.join(INFILTRATES)}"
        raise ValueError(f"{path}: {which}: give labels it draws, {', '.join(sorted(drawn.values()))}")
    return tuple(drawn[str(label).casefold()] for label in wanted)


def _reason(series: SeriesFiles, annotations: Annotations, labels: tuple[str, ...]) -> tuple[str, bool]:
    """Why a series is no case with outlines, or nothing; and whether it was looked at all the same and found free of infiltrates."""
    outlines = annotations.outlines.get(series.series_uid, [])
    if series.left_out:
        return series.left_out, False
    if series.plane != "axial":
        return NOT_AXIAL.format(series.plane), False
    if series.slices[0].frame is not None:
        return MULTI_FRAME, False
    if outlines:
        return _without_area(outlines, labels)
    if series.study_uid not in annotations.studies:
        return NOT_ANNOTATED, False
    return (OTHER_SERIES, False) if series.study_uid in annotations.outlined_studies else (EXAM_ONLY, True)


def _without_area(outlines: Sequence[Outline], labels: tuple[str, ...]) -> tuple[str, bool]:
    wanted = [outline for outline in outlines if outline.label in labels]
    if not wanted:
        return OTHER_LABELS, True
    return ("" if any(outline.vertices is not None for outline in wanted) else LINES_LOST), False


def _case(series: SeriesFiles, source: str, mask: OutlineFile | None) -> VolumeSource:
    folder = os.path.commonpath([path.parent for path in series.paths])
    files = tuple(sorted(os.path.relpath(path, folder) for path in series.paths))
    return VolumeSource(series.series_uid, source, folder, mask=mask, negative=mask is None, files=files)


def _called(series: SeriesFiles) -> Iterator[tuple[str, str]]:
    """Id and place of what is left out: once for a series, for every file of what is none."""
    if series.series_uid:
        yield series.series_uid, str(series.paths[0].parent)
    else:
        yield from ((path.stem, str(path)) for path in series.paths)
