"""Pictures of a sweep's parameters as SVG: the metric against each of them, and all of them side by side."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from optuna.distributions import FloatDistribution

from chestseg.tuning.importance import distributions_of
from chestseg.tuning.pictures import ROW, WIDTH, legend, name, picture, point, value_of
from chestseg.tuning.records import TrialRecord
from chestseg.tuning.result import Outcome

COLUMNS = 2
MOST_TICKS = 5
LONGEST_LABEL = 14
MOST_AXES = 8
"""Side by side; the most important ones."""
ABSENT = -0.15
"""Height at which a line passes a parameter its trial does not have; 0 is the parameter's least value, 1 its greatest."""


class Axis:
    """One parameter over all trials: its values as places on a line, 0 to 1."""

    def __init__(self, name: str, records: Sequence[TrialRecord]) -> None:
        """Find the kind of scale: a list of choices, or numbers, in logarithms where they were drawn so."""
        self.name = name
        having = [record for record in records if name in record.params]
        values = {record.params[name] for record in having}
        self.numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        self.values = sorted(values) if self.numeric else sorted(values, key=str)
        drawn_from = [distributions_of(record)[name] for record in having]
        self.log = any(getattr(distribution, "log", False) for distribution in drawn_from)
        self.continuous = any(isinstance(distribution, FloatDistribution) for distribution in drawn_from)

    @property
    def varies(self) -> bool:
        """Whether there is something to see."""
        return len(self.values) > 1

    def place(self, value: Any) -> float:
        """0 for the least or first value, 1 for the greatest or last."""
        if not self.numeric:
            return self.values.index(value) / (len(self.values) - 1)
        low, high, at = (math.log(v) if self.log else v for v in (self.values[0], self.values[-1], value))
        return (at - low) / (high - low)

    @property
    def ticks(self) -> list[Any]:
        """Values to write: all of a few choices, else the ends and the middle."""
        if not self.numeric or (len(self.values) <= MOST_TICKS and not self.continuous):
            return self.values
        low, high = self.values[0], self.values[-1]
        return [low, math.sqrt(low * high) if self.log else (low + high) / 2, high]

    def label(self, value: Any) -> str:
        """A value, short."""
        text = f"{value:.2g}" if isinstance(value, float) else str(value)
        return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def varying(outcome: Outcome, names: Sequence[str]) -> list[Axis]:
    """Those of the parameters that had more than one value, in the given order."""
    placed = [record for record in outcome.records if value_of(record) is not None]
    axes = (Axis(name, placed) for name in names if any(name in record.params for record in placed))
    return [axis for axis in axes if axis.varies]


def draw_slices(outcome: Outcome, shown: Sequence[Axis]) -> bytes:
    """The metric against each parameter, a small picture each."""
    rows = -(-len(shown) // COLUMNS)
    placed = [record for record in outcome.records if value_of(record) is not None]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, axis in zip(grid.flat, shown, strict=False):
            _slice(axes, axis, placed)
        for axes in grid[:, 0]:
            axes.set_ylabel(name(outcome.sweep.metric))
        legend(grid[0][0], placed)

    return picture(draw, WIDTH, 0.5 + 2.3 * rows)


def _slice(axes: Axes, axis: Axis, placed: Sequence[TrialRecord]) -> None:
    for record in placed:
        if axis.name in record.params:
            point(axes, record, axis.place(record.params[axis.name]), value_of(record))
    axes.set_xticks([axis.place(value) for value in axis.ticks], [axis.label(value) for value in axis.ticks])
    axes.set_xlim(-0.15, 1.15)
    axes.set_xlabel(axis.name)


def draw_parallel(outcome: Outcome, shown: Sequence[Axis]) -> bytes:
    """A line for each trial through its parameters, coloured by the metric; dashed where it was stopped.

    A line runs below an axis whose parameter the trial does not have.
    """
    shown = shown[:MOST_AXES]
    placed = sorted((r for r in outcome.records if value_of(r) is not None), key=lambda r: (r.state == "complete", value_of(r)))
    values = [value_of(record) or 0.0 for record in placed]
    scale, colours = Normalize(min(values), max(values)), colormaps["cividis_r"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for record, value in zip(placed, values, strict=True):
            heights = [axis.place(record.params[axis.name]) if axis.name in record.params else ABSENT for axis in shown]
            finished = record.state == "complete"
            axes.plot(heights, color=colours(scale(value)), linestyle="-" if finished else "--", linewidth=1.8 if finished else 0.9)
        for place, axis in enumerate(shown):
            axes.axvline(place, color="black", linewidth=1)
            for value in axis.ticks:
                box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
                where = (place, axis.place(value))
                axes.annotate(axis.label(value), where, xytext=(4, 0), textcoords="offset points", va="center", fontsize=10, bbox=box)
        axes.set_xticks(range(len(shown)), [axis.name for axis in shown], rotation=20, ha="right")
        axes.set_yticks([ABSENT], ["not there"])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(-0.1, len(shown) - 0.4)
        figure.colorbar(ScalarMappable(scale, colours), ax=axes, label=name(outcome.sweep.metric))

    return picture(draw, max(WIDTH, 1.1 * min(len(shown), MOST_AXES) + 1), 4 + ROW)
