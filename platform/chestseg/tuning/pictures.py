"""Pictures of a sweep as SVG: how its trials went, what the schedule did, the windows of averaging, and two objectives."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from chestseg.page.chart import BLUE, GREEN, GREY, ORANGE, RED, WIDTH, picture
from chestseg.tuning.importance import Importance
from chestseg.tuning.records import State, TrialRecord
from chestseg.tuning.result import Outcome, resolution

COLOURS: dict[State, str] = {"complete": BLUE, "pruned": ORANGE, "failed": GREY, "running": GREEN}
MARKERS: dict[State, str] = {"complete": "o", "pruned": "v", "failed": "X", "running": ">"}
WORDS: dict[State, str] = {"complete": "finished", "pruned": "stopped", "failed": "failed", "running": "running"}
MOST_ROWS = 30
"""Sequences of resolutions that are drawn: those with the best trials."""
ROW = 0.32
"""Inches of a bar or a strip with its label."""
NAMES = {
    "val_dice": "Dice",
    "val_dice_positives": "Dice on positives",
    "val_negatives_empty": "negatives left empty",
    "latency": "latency (s)",
    "flops": "FLOPs of the model",
}


def draw_progress(outcome: Outcome) -> bytes:
    """The metric of every trial against its compute, with the rungs, the stops, and the score of those that finished."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        best = outcome.best
        for record in outcome.records:
            _trial_line(axes, outcome, record, is_best=best is not None and record.number == best.number)
        if outcome.sweep.pruner:
            for place, share in enumerate(outcome.sweep.pruner.rungs, 1):
                axes.axvline(100 * share, color="black", linestyle=":", linewidth=1)
                axes.annotate(f"rung {place}", (100 * share, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=10)
        axes.set_xlabel("compute (% of a trial's budget)")
        axes.set_ylabel(name(outcome.sweep.metric))
        axes.set_xlim(left=0)
        legend(axes, [record for record in outcome.records if record.reports])

    return picture(draw, WIDTH, 4.6)


def _trial_line(axes: Axes, outcome: Outcome, record: TrialRecord, is_best: bool) -> None:
    budget = outcome.sweep.budget.per_trial
    points = [(100 * r.compute / budget, r.value) for r in record.reports if math.isfinite(r.value)]
    if not points:
        return
    colour = COLOURS[record.state]
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, linewidth=2.6 if is_best else 1, alpha=1 if is_best else 0.6, zorder=3 if is_best else 2)
    end = record.values[0] if record.state == "complete" else y[-1]
    if record.state == "complete":
        axes.plot([x[-1], x[-1]], [y[-1], end], color=colour, linestyle=":", linewidth=1)
    point(axes, record, x[-1], end, size=11 if is_best else 7)
    if is_best:
        axes.annotate(f"trial {record.number}", (x[-1], end), xytext=(-8, 6), textcoords="offset points", ha="right", color=colour)


def draw_schedules(outcome: Outcome) -> bytes:
    """The metric of each trial in a strip for each sequence of resolutions, those of fewer stages first."""
    rows: dict[tuple[str, ...], list[TrialRecord]] = {}
    for record in outcome.records:
        if record.number in outcome.experiments and value_of(record) is not None:
            stages = outcome.experiments[record.number].stages
            rows.setdefault(tuple(resolution(stage) for stage in stages), []).append(record)
    best = sorted(rows, key=lambda sizes: -max(value_of(record) or 0.0 for record in rows[sizes]))
    order = sorted(best[:MOST_ROWS], key=lambda sizes: (len(sizes), *map(_first_number, sizes)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, sizes in enumerate(order):
            for record in rows[sizes]:
                point(axes, record, value_of(record), place)
        axes.set_yticks(range(len(order)), [f"{' → '.join(sizes)}  ({len(rows[sizes])})" for sizes in order])
        axes.set_ylim(len(order) - 0.5, -0.5)
        for place in range(1, len(order)):
            if len(order[place]) != len(order[place - 1]):
                axes.axhline(place - 0.5, color="black", linewidth=1)
        axes.set_xlabel(name(outcome.sweep.metric))
        legend(axes, [record for group in rows.values() for record in group])

    return picture(draw, WIDTH, 1.4 + ROW * max(3, len(order)))


def draw_windows(table: Sequence[Mapping[str, Any]], metric: str) -> bytes:
    """A row for each window of one trial: the epochs it averages, and its score beside them.

    Args:
        table: rows of `WindowResult.table` that were scored, the chosen one first; those that saw fewer cases are drawn hollow.
        metric: its name.
    """

    def draw(figure: Figure) -> None:
        epochs, scores = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        for place, row in enumerate(table):
            colour = RED if place == 0 else BLUE
            face = colour if row["cases"] == table[0]["cases"] else "none"
            look = {"color": colour, "marker": "o", "markersize": 6, "markerfacecolor": face}
            epochs.plot([epoch + 1 for epoch in row["epochs"]], [place] * len(row["epochs"]), linewidth=1, **look)
            scores.plot(row["score"], place, **look)
        epochs.set_ylim(len(table) - 0.4, -0.6)
        epochs.set_yticks([0], ["chosen"])
        epochs.xaxis.set_major_locator(MaxNLocator(integer=True))
        epochs.set_xlabel("epochs of the last stage")
        scores.set_xlabel(name(metric))
        scores.xaxis.set_major_locator(MaxNLocator(4))

    return picture(draw, WIDTH, 1 + 0.75 * ROW * max(4, len(table)))


def draw_front(outcome: Outcome) -> bytes:
    """Both objectives of every finished trial; the front as a line, its trials numbered."""
    assert outcome.sweep.second

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for record in outcome.records:
            if record.state == "complete":
                axes.plot(record.values[1], record.values[0], marker="o", color=GREY, markersize=6)
        front = sorted(outcome.front, key=lambda record: record.values[1])
        axes.step([r.values[1] for r in front], [r.values[0] for r in front], where="post", color=RED, marker="D", markersize=7)
        for record in front:
            axes.annotate(str(record.number), (record.values[1], record.values[0]), xytext=(7, -12), textcoords="offset points", color=RED)
        axes.set_xlabel(name(outcome.objectives[1]))
        axes.set_ylabel(name(outcome.objectives[0]))

    return picture(draw, WIDTH, 4.6)


def draw_importance(shares: Sequence[Importance]) -> bytes:
    """A bar for each parameter, and where chance ends."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, one in enumerate(shares):
            axes.barh(place, one.share, color=BLUE if one.share > one.chance else GREY, height=0.6)
            axes.plot([one.chance] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
        axes.set_yticks(range(len(shares)), [one.name for one in shares])
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("importance (line: what chance stays below)")

    return picture(draw, WIDTH, 1 + ROW * max(3, len(shares)))


def point(axes: Axes, record: TrialRecord, x: Any, y: Any, size: float = 7) -> None:
    """A trial; hollow where it was stopped, since its value is of less compute."""
    colour = COLOURS[record.state]
    face = colour if record.state == "complete" else "none"
    axes.plot(
        x, y, marker=MARKERS[record.state], markerfacecolor=face, markeredgecolor=colour, markersize=size, linestyle="none", alpha=0.85
    )


def legend(axes: Axes, records: Sequence[TrialRecord]) -> None:
    """Say what the states that occur look like, above the picture where nothing is hidden."""
    for state in COLOURS:
        if any(record.state == state for record in records):
            face = COLOURS[state] if state == "complete" else "none"
            axes.plot([], [], marker=MARKERS[state], color=COLOURS[state], markerfacecolor=face, linestyle="none", label=WORDS[state])
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)


def value_of(record: TrialRecord) -> float | None:
    """What a trial came to, None where it came to nothing."""
    return record.values[0] if record.values and math.isfinite(record.values[0]) else None


def name(objective: str) -> str:
    """What an objective is called on an axis."""
    return NAMES.get(objective, objective)


def _first_number(text: str) -> float:
    """To sort resolutions by, coarse first: pixels ascend, millimetres descend."""
    number = float(text.split(" ")[0])
    return -number if text.endswith("mm") else number
