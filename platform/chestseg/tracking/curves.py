"""The picture of a run: loss and validation Dice over the epochs, a column for each stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chestseg.files import whole_file
from chestseg.tracking.journal import Metric

ROWS = {"loss": ("loss",), "validation Dice": ("val_dice", "val_dice_positives")}
"""Label of each row and the metric keys drawn in it."""


def draw_curves(stages: Mapping[str, Sequence[Metric]], path: Path) -> None:
    """Draw the curves of each stage's metrics (title -> points) into a PNG at `path`; all stages share a row's scale."""
    figure = Figure(figsize=(1 + 4 * len(stages), 6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(ROWS), len(stages), squeeze=False, sharey="row", sharex="col")
    for column, (title, points) in enumerate(stages.items()):
        grid[0][column].set_title(title)
        grid[-1][column].set_xlabel("epoch")
        for axes, keys in zip(grid[:, column], ROWS.values(), strict=True):
            _draw(axes, keys, points)
    for axes, label in zip(grid[:, 0], ROWS, strict=True):
        axes.set_ylabel(label)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=100)


def _draw(axes: Axes, keys: Sequence[str], points: Sequence[Metric]) -> None:
    for key in keys:
        curve = sorted((p.step, p.value) for p in points if p.key == key)
        if curve:
            axes.plot(*zip(*curve, strict=True), marker=".", label=key)
    if axes.lines:
        axes.legend()
    axes.grid(alpha=0.3)
