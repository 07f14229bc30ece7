"""RICORD's outlines: an MD.ai export of several readers' labels, and the mask they make of a series."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

OUTLINED = "INSTANCE"
"""The scope of labels that are drawn on one image; others are said of a series or an exam."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed line a reader drew on one image, or the label alone where the export lost the line."""

    label: str
    reader: str
    """Who drew it; "" where the export does not say."""
    study_uid: str
    series_uid: str
    sop_uid: str
    vertices: np.ndarray | None
    """(n, 2) float64 of x and y in pixels; (0, 0) is the outer corner of the first pixel, whose centre is (0.5, 0.5)."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """An MD.ai export."""

    path: str
    scopes: dict[str, str]
    """Scope of every label by its name."""
    outlines: dict[str, list[Outline]]
    """What was drawn, of all labels, by SeriesInstanceUID."""
    studies: frozenset[str]
    """StudyInstanceUIDs of which anything is said."""


@dataclass(frozen=True)
class OutlineFile:
    """A series' mask as outlines in an MD.ai export."""

    path: str
    series_uid: str
    labels: tuple[str, ...]
    """Names of the labels that count as infiltrate."""
    annotators: Literal["union", "majority"]
