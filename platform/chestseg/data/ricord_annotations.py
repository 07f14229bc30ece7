"""RICORD's outlines: what several readers drew, from an MD.ai export, and the mask it makes of a series.

The export (docs.md.ai, "Annotations JSON") has `labelGroups[].labels[]` with `id`, `name` and `scope`, and `datasets[].annotations[]` with
`labelId`, `createdById`, the three instance UIDs and `data`, which for a drawn line is `{"vertices": [[x, y], ...]}` and may be null.
"""

import functools
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

DRAWN = "INSTANCE"
"""The scope of labels that are drawn on one image; others are said of a series or an exam."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed line that a reader drew on one image, or its label alone where the line is lost."""

    label: str
    reader: str
    """"" where the export does not say."""
    sop_uid: str
    vertices: np.ndarray | None
    """(n, 2) float64 of x and y in pixels; (0, 0) is the outer corner of the first pixel, whose centre is (0.5, 0.5)."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """What an export says."""

    scopes: dict[str, str]
    """Scope of every label by its name."""
    outlines: dict[str, list[Outline]]
    """What was drawn, of every label, by SeriesInstanceUID."""
    studies: frozenset[str]
    """StudyInstanceUID of all exams of which anything is said."""
    outlined_studies: frozenset[str]
    """Those with a drawn label."""


def read_annotations(path: str | Path) -> Annotations:
    """Read an MD.ai export. The last one read is kept until its file changes.

    Raises:
        ValueError: one line that names the file: no JSON, no MD.ai export, or a label or vertices that are not as they should be.
    """
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: put RICORD's annotations there") from None
    return _read(str(path), changed)


@functools.lru_cache(maxsize=1)
def _read(path: str, changed: int) -> Annotations:
    try:
        export = json.loads(Path(path).read_bytes())
    except ValueError:
        raise ValueError(f"{path}: is not JSON, or was cut short: download RICORD's annotations again") from None
    try:
        return _parse(export)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not an export of MD.ai as RICORD has it ({error!r}): take the file as TCIA has it") from None


def _parse(export: dict[str, Any]) -> Annotations:
    labels = {label["id"]: (label["name"], label["scope"]) for group in export["labelGroups"] for label in group["labels"]}
    rows = [row for dataset in export["datasets"] for row in dataset["annotations"]]
    # A label the export does not define is called by its id, so that it is seen and never counts as infiltrate.
    drawn = [row for row in rows if labels.get(row["labelId"], ("", DRAWN))[1] == DRAWN]
    outlines: dict[str, list[Outline]] = defaultdict(list)
    for row in drawn:
        name, _ = labels.get(row["labelId"], (row["labelId"], DRAWN))
        outline = Outline(name, row.get("createdById") or "", row["SOPInstanceUID"] or "", _vertices(row.get("data")))
        outlines[row["SeriesInstanceUID"] or ""].append(outline)
    studies, outlined = (frozenset(row["StudyInstanceUID"] for row in some) for some in (rows, drawn))
    return Annotations(dict(labels.values()), dict(outlines), studies, outlined)


def _vertices(data: dict[str, Any] | None) -> np.ndarray | None:
    """The line, or None for what has no area: no data at all, a mark in place of a line, fewer than three vertices."""
    points = (data or {}).get("vertices") or ()
    if len(points) < 3:
        return None
    vertices = np.array(points, np.float64).reshape(-1, 2)
    if not np.isfinite(vertices).all():
        raise ValueError(f"vertices {points[:3]}")
    return vertices


@dataclass(frozen=True)
class OutlineFile:
    """A series' mask as outlines in an MD.ai export."""

    path: str
    series_uid: str
    labels: tuple[str, ...]
    """Names of the labels that count as infiltrate."""
    annotators: Literal["union", "majority"]
    """What any reader drew, or what more than half of those did who drew anything in this series, be it of another label."""

    def read(self, sop_uids: Sequence[str | None], shape: tuple[int, int, int], image: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """The mask of a series' images, joined by SOPInstanceUID, and notes on what could not be drawn.

        Args:
            sop_uids: of the slices; None where a slice is no image of the series but was put in for a missing one: it gets the mask
                of the image nearest to it.
            shape: (slices, rows, columns).
            image: the series' name in errors.

        Returns:
            (slices, rows, columns) uint8 of 0 and 1.

        Raises:
            ValueError: one line: as `read_annotations` does, or the line is on an image that is not among the slices.
        """
        outlines = read_annotations(self.path).outlines.get(self.series_uid, [])
        wanted = [outline for outline in outlines if outline.label in self.labels]
        drawn = [outline for outline in wanted if outline.vertices is not None]
        self._check_images({outline.sop_uid for outline in drawn}, sop_uids, image)
        readers = {outline.reader for outline in outlines}
        least = 1 if self.annotators == "union" else len(readers) // 2 + 1
        by_image: dict[str, list[Outline]] = defaultdict(list)
        for outline in drawn:
            by_image[outline.sop_uid].append(outline)
        mask = np.zeros(shape, np.uint8)
        for index, sop_uid in enumerate(_nearest(sop_uids)):
            mask[index] = _votes(by_image.get(sop_uid, ()), shape[1:]) >= least
        # Without their number, so that the report counts the series they are missing from.
        return mask, ("some of its annotations have no outline",) if len(drawn) < len(wanted) else ()

    def _check_images(self, outlined: set[str], sop_uids: Sequence[str | None], image: str) -> None:
        missing = outlined.difference(uid for uid in sop_uids if uid)
        if missing:
            raise ValueError(
                f"{image}: {len(missing)} of {len(outlined)} images with outlines are not among its slices, they are missing or "
                f"were resampled: complete the series, {min(missing)} for one"
            )


def _nearest(sop_uids: Sequence[str | None]) -> list[str]:
    """For every slice the UID of the nearest that has one."""
    known = np.array([index for index, uid in enumerate(sop_uids) if uid])
    if not len(known):
        return [""] * len(sop_uids)
    return [sop_uids[known[np.abs(known - index).argmin()]] or "" for index in range(len(sop_uids))]


def _votes(outlines: Sequence[Outline], shape: tuple[int, int]) -> np.ndarray:
    """(rows, columns) int: how many readers have each pixel within any of their lines."""
    votes = np.zeros(shape, np.int64)
    for reader in {outline.reader for outline in outlines}:
        areas = [fill(outline.vertices, shape) for outline in outlines if outline.reader == reader and outline.vertices is not None]
        votes += np.logical_or.reduce(areas)
    return votes


def fill(vertices: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie within a closed line, exactly; `cv2.fillPoly` adds those that the line touches, half a pixel all round.

    A line that crosses itself, as those drawn by hand do where they close, encloses what it goes round at least once on balance (the
    non-zero rule of SVG, by which the readers saw their areas filled).

    Args:
        vertices: (n, 2) x and y in pixels; (0, 0) is the outer corner of the first pixel. They may lie beyond the image.
        shape: (rows, columns).

    Returns:
        (rows, columns) bool.
    """
    (x0, y0), (x1, y1) = vertices.T, np.roll(vertices, -1, axis=0).T
    top, bottom = np.clip([np.floor(y0.min()), np.ceil(y0.max())], 0, shape[0]).astype(int)
    centres = np.arange(top, bottom)[:, None] + 0.5
    # An edge that crosses a row of centres turns the winding number of all pixels to its right by one, by its direction up or down.
    turns = (y0 <= centres).astype(np.int8) - (y1 <= centres)
    row, edge = np.nonzero(turns)
    x = x0[edge] + (centres[row, 0] - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    winding = np.zeros((bottom - top, shape[1] + 1), np.int32)
    np.add.at(winding, (row, np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(int)), turns[row, edge])
    inside = np.zeros(shape, bool)
    inside[top:bottom] = np.cumsum(winding, axis=1)[:, :-1] != 0
    return inside
