"""The report's section on windows of weight averaging: those of the best trial, and what choosing one gained in all."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chestseg.page import Block, Figure, Heading, Paragraph, Table
from chestseg.tuning.pictures import draw_windows, name
from chestseg.tuning.records import TrialRecord
from chestseg.tuning.result import Outcome


def windows_section(outcome: Outcome) -> list[Block]:
    """Nothing where no trial compared windows."""
    found = [record for record in outcome.records if "window" in record.extra]
    if not found:
        return []
    blocks: list[Block] = [Heading("Windows of weight averaging"), Paragraph(_in_short(found))]
    if outcome.best and "window" in outcome.best.extra:
        window = outcome.best.extra["window"]
        scored = [row for row in window["table"] if row["cases"]]
        caption = f"Windows of trial {outcome.best.number}: a row each, the best first, with the epochs averaged. {_method(window)}"
        shown = draw_windows(scored, window["metric"])
        blocks.append(Figure(shown, "windows of the best trial by epochs and score", caption, chart=True))
    columns = ["trial", "epochs averaged", "score", "gain", "windows", "share of compute", "seconds"]
    caption = f"The chosen window of each trial, by {name(outcome.sweep.metric)}; the gain is over the last epoch's weights."
    blocks.append(Table(columns, list(map(_row, found)), caption))
    return blocks


def _in_short(found: Sequence[TrialRecord]) -> str:
    gains = [gain for gain in map(_gain, found) if math.isfinite(gain)]
    mean = f" On average the chosen window scores {sum(gains) / len(gains):+.4f} over the last epoch's weights alone." if gains else ""
    return (
        "Every finished trial's snapshots were averaged over many windows and scored, without training again." + mean +
        " Both are scored on the cases that chose, so the gain is an upper bound."
    )  # fmt: skip


def _method(window: Mapping[str, Any]) -> str:
    """On what windows were scored, and how far that is from a full pass."""
    check = window["check"]
    rounds = ", then ".join(f"{round_['windows']} windows on {round_['cases']} cases" for round_ in window["rounds"])
    told = f"Scored: {rounds}, of {window['held_out']}; hollow: on fewer cases.{''.join(f' Note: {line}.' for line in window['told'])}"
    if not check["batches"]:
        return f"{told} No batch-norm statistics had to be estimated."
    return (
        f"{told} Batch-norm statistics are of {window['batch_norm_batches']} micro-batches; with a full pass of {check['batches']} the "
        f"chosen window scores {check['score_full']:.4f} instead of {check['score']:.4f} on {check['cases']} cases, and "
        f"probabilities differ by {check['probability_mean']:.2g} on average, {check['probability_largest']:.2g} at most."
    )


def _gain(record: TrialRecord) -> float:
    """What the chosen window scores over the weights that the training ended with; NaN where it was not scored on the same cases."""
    window = record.extra["window"]
    comparable = record.reports and window["table"][0]["cases"] == window["held_out"]
    return window["table"][0]["score"] - record.reports[-1].value if comparable else math.nan


def _row(record: TrialRecord) -> tuple[str, ...]:
    window, gain = record.extra["window"], _gain(record)
    chosen = window["table"][0]
    epochs = ", ".join(str(epoch + 1) for epoch in chosen["epochs"])
    return (
        str(record.number), epochs, f"{chosen['score']:.4f}", f"{gain:+.4f}" if math.isfinite(gain) else "-",
        str(len(window["table"])), f"{window['share']:.1%}", f"{window['seconds']:.1f}",
    )  # fmt: skip
