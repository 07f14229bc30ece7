"""Charts of an evaluation: ROC, calibration, subgroups, size of the lesion, agreement of volumes. Aggregates and points, no identifiers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from chestseg.evaluation.agreement import VolumeAgreement
from chestseg.evaluation.statistics import ImageCurves, Rows
from chestseg.evaluation.summary import EVERYONE, GroupScores
from chestseg.evaluation.words import NAMES
from chestseg.intervals import Estimate
from chestseg.metrics_image import Roc
from chestseg.metrics_volume import VolumeScore
from chestseg.page.chart import BLUE, GREY, ORANGE, RED, WIDTH, picture

SQUARE = 4.4
"""Inches of a chart of two rates."""
ROW = 0.34
"""Inches of a group's row."""
RATES = (-0.02, 1.02)
LOG_FROM = 5
"""Times the smallest lesion that the largest is, from which on their axis is logarithmic."""


def draw_roc(curve: Roc, sensitivity: float | None, specificity: float | None) -> bytes:
    """True against false positive rate over all thresholds of the probability, and where the masks themselves lie."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=BLUE, linewidth=2, label="probability of disease")
        if sensitivity is not None and specificity is not None:
            axes.plot(1 - specificity, sensitivity, color=RED, marker="D", linestyle="none", label="a mask or none")
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        axes.set_xlim(RATES)
        axes.set_ylim(RATES)
        axes.legend(loc="lower right")

    return picture(draw, SQUARE, SQUARE)


def draw_reliability(curves: ImageCurves) -> bytes:
    """Share of positives against mean probability in each bin, and below how many images it has."""
    bins = curves.reliability

    def draw(figure: Figure) -> None:
        share, count = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        share.plot([0, 1], [0, 1], color=GREY, linestyle=":")
        share.plot([b.probability for b in bins], [b.positives for b in bins], color=BLUE, marker="o", linewidth=1)
        share.set_ylabel("share of positives")
        share.set_ylim(RATES)
        count.bar([b.low for b in bins], [b.cases for b in bins], [b.high - b.low for b in bins], align="edge", color=BLUE, alpha=0.5)
        count.set_ylabel("images")
        count.set_xlabel("probability of disease")
        count.set_xlim(RATES)

    return picture(draw, SQUARE, SQUARE + 0.6)


def draw_groups(groups: Sequence[GroupScores], metric: str) -> bytes:
    """A row for each group: the score with its interval, a hollow mark where there is none; the line is that of all cases."""
    shown = [(group, group.scores[metric]) for group in groups if group.scores[metric].value is not None]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (group, estimate) in enumerate(shown):
            draw_estimate(axes, place, estimate, RED if group.by == EVERYONE else BLUE)
            if group.by == EVERYONE:
                axes.axvline(estimate.value or 0, color=RED, linestyle=":", linewidth=1)
            elif group.by != shown[place - 1][0].by:
                axes.axhline(place - 0.5, color=GREY, linewidth=0.6)
        axes.set_yticks(range(len(shown)), [_label(group) for group, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(NAMES[metric])

    return picture(draw, WIDTH, 0.9 + ROW * max(3, len(shown)))


def draw_estimate(axes: Axes, place: float, estimate: Estimate, colour: str, marker: str = "o") -> None:
    """A value on a row, with its interval as a line; hollow where there is none."""
    if estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2)
    axes.plot(estimate.value, place, marker=marker, color=colour, markerfacecolor="none" if estimate.low is None else colour)


def draw_sizes(rows: Rows) -> bytes:
    """Dice of each positive case against the size of its true lesion."""
    positives = [row for row in rows if row.positive]
    sizes = [row.truth_ml if isinstance(row, VolumeScore) else row.truth_px for row in positives]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for found, marker, colour, label in ((True, "o", BLUE, "given a mask"), (False, "X", RED, "left empty")):
            chosen = [place for place, row in enumerate(positives) if row.present is found]
            points = [sizes[p] for p in chosen], [positives[p].dice for p in chosen]
            if chosen:
                axes.plot(*points, marker, color=colour, alpha=0.6, linestyle="none", label=label)
        if max(sizes) > LOG_FROM * min(sizes):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("true lesion (ml)" if positives and isinstance(positives[0], VolumeScore) else "true lesion (pixels compared)")
        axes.set_ylabel("Dice")
        axes.set_ylim(RATES)
        axes.legend(loc="lower right")

    return picture(draw, WIDTH, 3.6)


def draw_agreement(agreement: VolumeAgreement) -> bytes:
    """Bland and Altman's plot: difference of volumes against their mean, with bias and limits of agreement."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=GREY, linewidth=1)
        axes.plot(agreement.mean_ml, agreement.difference_ml, "o", color=BLUE, alpha=0.6)
        for estimate, style, colour in ((agreement.bias, "-", RED), (agreement.lower, "--", ORANGE), (agreement.upper, "--", ORANGE)):
            if estimate.value is None or np.isnan(estimate.value):
                continue
            axes.axhline(estimate.value, color=colour, linestyle=style)
            if estimate.low is not None and estimate.high is not None:
                axes.axhspan(estimate.low, estimate.high, color=colour, alpha=0.12)
        axes.set_xlabel("mean of predicted and true volume (ml)")
        axes.set_ylabel("predicted - true (ml)")

    return picture(draw, WIDTH, 3.8)


def _label(group: GroupScores) -> str:
    name = "all cases" if group.by == EVERYONE else f"{group.by}: {group.group}"
    return f"{name}  ({group.cases})"
