"""The report's section on windows of weight averaging: those of the best trial, and what choosing one gained in all."""

import math
from collections.abc import Mapping
from typing import Any

from chestseg.page import Block, Figure, Heading, Paragraph, Table
from chestseg.tuning.pictures import draw_windows, name
from chestseg.tuning.result import Outcome


def windows_section(outcome: Outcome) -> list[Block]:
    """Nothing where no trial compared windows."""
    found = {record.number: record.extra["window"] for record in outcome.records if "window" in record.extra}
    if not found:
        return []
    blocks: list[Block] = [Heading("Windows of weight averaging"), Paragraph(_in_short(found))]
    if outcome.best and outcome.best.number in found:
        window = found[outcome.best.number]
        scored = [row for row in window["table"] if row["cases"]]
        caption = f"Windows of trial {outcome.best.number}: a line spans a window, dots are the epochs averaged. {_method(window)}"
        shown = draw_windows(scored, window["metric"])
        blocks.append(Figure(shown, "windows of the best trial by epochs and score", caption, chart=True))
    rows = [(str(number), *_row(window)) for number, window in found.items()]
    columns = ["trial", "averaged", "score", "last epoch alone", "gain", "windows", "share of compute", "seconds"]
    blocks.append(Table(columns, rows, f"The chosen window of each trial, by {name(next(iter(found.values()))['metric'])}."))
    return blocks


def _in_short(found: Mapping[int, Mapping[str, Any]]) -> str:
    gains = [gain for gain in map(_gain, found.values()) if gain is not None]
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


def _gain(window: Mapping[str, Any]) -> float | None:
    alone = _alone(window)
    gain = None if alone is None else window["table"][0]["score"] - alone
    return gain if gain is not None and math.isfinite(gain) else None


def _alone(window: Mapping[str, Any]) -> float | None:
    """Score of the last epoch's weights; None where they were left behind before they had seen as many cases as the chosen window."""
    chosen = window["table"][0]
    row = next((row for row in window["table"] if row["last"] == 1 and row["skip"] == 0), None)
    return row["score"] if row and row["cases"] == chosen["cases"] else None


def _row(window: Mapping[str, Any]) -> tuple[str, ...]:
    chosen, alone, gain = window["table"][0], _alone(window), _gain(window)
    epochs = ", ".join(str(epoch + 1) for epoch in chosen["epochs"])
    return (
        epochs, f"{chosen['score']:.4f}", "-" if alone is None else f"{alone:.4f}", "-" if gain is None else f"{gain:+.4f}",
        str(len(window["table"])), f"{window['share']:.1%}", f"{window['seconds']:.1f}",
    )  # fmt: skip
