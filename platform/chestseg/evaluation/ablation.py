"""What an ablation found, as a table with paired intervals, the time each training took to the same Dice, and a page."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Canvas

from chestseg import __version__
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.charts import draw_estimate
from chestseg.evaluation.subgroups import case_facts
from chestseg.evaluation.summary import Evaluation, GroupScores, compare_models, summarise_groups
from chestseg.evaluation.words import NAMES, number, span, with_span
from chestseg.files import whole_file
from chestseg.page import Block, Figure, Heading, Note, Page, Paragraph, Table, write_page
from chestseg.page.chart import BLUE, GREEN, GREY, ORANGE, RED, WIDTH, picture

METRICS = ("mean_dice", "dice_positives", "sensitivity", "specificity")
TABLE, REPORT = "ablation.csv", "ablation.html"
COLOURS = (RED, BLUE, GREEN, ORANGE, GREY)


@dataclass(frozen=True)
class Line:
    """One way to train and score."""

    name: str
    result: Evaluation
    """Of all held-out folds' cases."""


@dataclass(frozen=True)
class Course:
    """How a training went in one fold: seconds of training steps alone, and validation Dice on positives, epoch by epoch."""

    name: str
    fold: int
    seconds: tuple[float, ...]
    dice: tuple[float, ...]

    def time_to(self, dice: float) -> float | None:
        """Seconds to the first validation at `dice` or above; None where there was none."""
        return next((t for t, value in zip(self.seconds, self.dice, strict=True) if value >= dice), None)


@dataclass(frozen=True)
class Found:
    """All of an ablation; the first line is the one that others are compared with."""

    name: str
    lines: tuple[Line, ...]
    courses: tuple[Course, ...]
    schedules: Mapping[str, str]
    """Of each training, in words."""
    reach: float | None
    resamples: int = 2000
    notes: tuple[str, ...] = ()
    """What a reader must know of how the trainings differ."""


def targets(found: Found) -> dict[int, float]:
    """Of each fold the Dice that the time to is told of: as configured, or the highest that all its trainings reached."""
    folds = sorted({course.fold for course in found.courses})
    best = {fold: min(max(c.dice, default=0.0) for c in found.courses if c.fold == fold) for fold in folds}
    return best if found.reach is None else dict.fromkeys(folds, found.reach)


def times(found: Found) -> list[tuple[str, ...]]:
    """A row a training: its schedule, seconds in all, and to the same Dice, with their ratio to the first training's; means over folds."""
    wanted, rows = targets(found), []
    reference: dict[int, float | None] = {}
    for name in dict.fromkeys(course.name for course in found.courses):
        own = [course for course in found.courses if course.name == name]
        reached = {course.fold: course.time_to(wanted[course.fold]) for course in own}
        reference = reference or reached
        ratios = [t / r for fold, t in reached.items() if t is not None and (r := reference.get(fold))]
        known = [t for t in reached.values() if t is not None]
        to = f"{np.mean(known):.0f} s" if len(known) == len(own) else f"reached in {len(known)} of {len(own)} folds"
        ratio = f"{np.mean(ratios):.2f}" if len(ratios) == len(own) else "-"
        total = np.mean([course.seconds[-1] if course.seconds else 0.0 for course in own])
        rows.append((name, found.schedules.get(name, ""), f"{total:.0f} s", to, ratio))
    return rows


def differences(found: Found, dataset: PreparedDataset) -> dict[str, tuple[GroupScores, GroupScores | None]]:
    """Of each line its scores and, beyond the first, the paired differences to the first."""
    first = found.lines[0].result
    facts = case_facts(dataset, [row.case_id for row in first.rows])
    compared = {}
    for line in found.lines:
        own = summarise_groups(line.result, facts, found.resamples).overall
        against = compare_models(line.result, first, facts, found.resamples).overall if line.result is not first else None
        compared[line.name] = own, against
    return compared


def write_ablation(found: Found, dataset: PreparedDataset, folder: Path) -> str:
    """Write `ablation.csv` and `ablation.html`, and return the table as it is printed."""
    compared = differences(found, dataset)
    rows = [(name, *_cells(own, against)) for name, (own, against) in compared.items()]
    head = ("", *(NAMES[m] for m in METRICS), *(f"{NAMES[m]}, difference" for m in METRICS[:2]))
    with whole_file(folder / TABLE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    write_page(_page(found, compared, head, rows), folder / REPORT)
    told = [head, *rows]
    widths = [max(len(row[column]) for row in told) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in told)


def _cells(own: GroupScores, against: GroupScores | None) -> list[str]:
    scores = [with_span(metric, own.scores.get(metric)) for metric in METRICS]
    return scores + [_difference(metric, against) for metric in METRICS[:2]]


def _difference(metric: str, against: GroupScores | None) -> str:
    if against is None:
        return "-"
    estimate = against.scores[metric]
    value = number(metric, estimate.value)
    return value if estimate.low is None else f"{value} ({span(metric, estimate)})"


def _page(
    found: Found, compared: Mapping[str, tuple[GroupScores, GroupScores | None]], head: Sequence[str], rows: Sequence[Sequence[str]]
) -> Page:
    first, overall = found.lines[0].name, compared[found.lines[0].name][0]
    wanted = targets(found)
    at = ", ".join(f"{dice:.3f} in fold {fold}" for fold, dice in wanted.items())
    blocks: list[Block] = [
        Heading("Scores"),
        Table(head, rows, f"In brackets 95 % intervals over patients; differences are to {first}, paired on the same cases."),
        Figure(_forest(compared), f"difference of mean Dice to {first}", "Left of the line is worse. Hollow: no interval.", chart=True),
        Note(
            "Intervals are over patients: they say what other patients would change, not what another seed would. Trainings that differ in "
            "their seed alone differ, too."
        ),
        *(Note(note) for note in found.notes),
        Heading("Time to the same Dice"),
        Paragraph(
            "Seconds of training steps, loading included; starting up, validating and checkpoints are left out. Validation Dice on "
            f"positives is that of the weights as they train, on one grid, without averaging or flips. The Dice asked for: {at}."
        ),
        Table(["training", "schedule", "in all", "to the Dice", f"ratio to {found.courses[0].name}"], times(found)) if found.courses
        else Note("No training was validated before its end: set validate_every."),
    ]  # fmt: skip
    if found.courses:
        blocks.append(
            Figure(_curves(found), "validation Dice against seconds of training", "A line for each training and fold.", chart=True)
        )
    summary = (
        f"{len(found.lines)} ways to train and score on {overall.cases} held-out cases of {overall.patients} patients, {overall.positives} "
        f"positive, against {first}: mean Dice {with_span('mean_dice', overall.scores['mean_dice'])}."
    )
    return Page(f"Ablation {found.name}", summary, blocks, f"chestseg {__version__}")


def _forest(compared: Mapping[str, tuple[GroupScores, GroupScores | None]]) -> bytes:
    shown = {name: against.scores["mean_dice"] for name, (_, against) in compared.items() if against}

    def draw(figure: Canvas) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=RED, linestyle=":")
        for place, estimate in enumerate(shown.values()):
            draw_estimate(axes, place, estimate, BLUE)
        axes.set_yticks(range(len(shown)), list(shown))
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("difference of mean Dice")

    return picture(draw, WIDTH, 0.9 + 0.34 * max(3, len(shown)))


def _curves(found: Found) -> bytes:
    names = list(dict.fromkeys(course.name for course in found.courses))

    def draw(figure: Canvas) -> None:
        axes = figure.subplots()
        labelled: set[str] = set()
        for course in found.courses:
            style = {"color": COLOURS[names.index(course.name) % len(COLOURS)], "marker": "osv^D"[names.index(course.name) % 5]}
            label = None if course.name in labelled else course.name
            axes.plot(course.seconds, course.dice, markersize=4, label=label, **style)  # type: ignore[arg-type]
            labelled.add(course.name)
        axes.set_xlabel("seconds of training")
        axes.set_ylabel("validation Dice on positives")
        axes.legend()

    return picture(draw, WIDTH, 4.2)
