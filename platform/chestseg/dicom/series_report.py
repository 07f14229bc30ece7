"""What was found out about a series, as data: each finding with how bad it is, what to do, and what repair mode does about it."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["strict", "repair"]
"""How a series is read. What either would do without reading it, `report_series` and `chestseg series` say."""

Level = Literal["note", "repairable", "fatal"]
"""A note changes no voxel; what is repairable is refused in strict mode; what is fatal is refused in both."""

Kind = Literal[
    "no_series", "mixed_series", "strays", "left_out", "uids", "orientation", "rescale", "rescale_differs", "padding",
    "shapes_differ", "few_slices", "too_large", "duplicates", "gaps", "uneven", "tilt", "tilt_not_seen", "shifted",
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing about a series that its user should know."""

    kind: Kind
    level: Level
    text: str
    """What was found, in a few words, without a full stop."""
    remedy: str = ""
    """What the user can do; empty for notes."""
    repair: str = ""
    """What repair mode does, or has done, about it."""

    def refusal(self) -> str:
        """The finding as an error's line."""
        choice = f"{self.remedy}, or read it in repair mode: {self.repair}" if self.repair else self.remedy
        return f"{self.text}: {choice}"


@dataclass(frozen=True)
class Gap:
    """A stretch along the normal where slices are missing."""

    after_slice: int
    """Slice before the gap, counted from 0 along the normal, duplicates left out."""
    length_mm: float
    """From that slice to the next."""
    missing: int
    """Slices that would fit at the series' spacing."""


@dataclass(frozen=True)
class SeriesReport:
    """Findings about one series and the figures behind them; geometry is None or 0 where no slice could be placed."""

    name: str
    """Folder or file, as errors call it."""
    series_uid: str
    slices: int
    """Slices found, duplicates among them."""
    findings: tuple[Finding, ...]
    spacing_mm: tuple[float, float, float] | None = None
    """Of the volume: along slices, rows and columns."""
    steps_mm: tuple[float, float] | None = None
    """Shortest and longest distance between neighbouring slices."""
    gaps: tuple[Gap, ...] = ()
    duplicates: int = 0
    tilt_degrees: float = 0.0
    """Angle between the slices' normal and the line their first pixels lie on: the gantry's tilt, seen from the positions."""

    def of_kind(self, kind: Kind) -> Finding | None:
        """The finding of this kind, if there is one."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def refusal(self, mode: Mode) -> str | None:
        """The line with which reading in `mode` refuses the series; None where it is read."""
        worst = [f for f in self.findings if f.level == "fatal"] or [
            f for f in self.findings if f.level == "repairable" and mode == "strict"
        ]
        if not worst:
            return None
        more = f" (and {len(worst) - 1} more findings: `chestseg series` shows them)" if len(worst) > 1 else ""
        return f"{self.name}: {worst[0].refusal()}{more}"

    @property
    def repairs(self) -> tuple[str, ...]:
        """What repair mode does to this series, a line each."""
        return tuple(f"{f.text}: {f.repair}" for f in self.findings if f.repair)
