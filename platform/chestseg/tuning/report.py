"""A sweep's report: what was found, how sure that is, and how each trial went, on one page."""

from collections.abc import Sequence
from pathlib import Path

from chestseg import __version__
from chestseg.page import Block, Figure, Heading, Listing, Note, Page, Paragraph, Table, write_page
from chestseg.tuning.importance import BEST, FEWEST, SHUFFLES, importance, standing
from chestseg.tuning.parameter_pictures import draw_parallel, draw_slices, varying
from chestseg.tuning.pictures import MOST_ROWS, WORDS, draw_front, draw_importance, draw_progress, draw_schedules, name, value_of
from chestseg.tuning.records import TrialRecord
from chestseg.tuning.result import BEST as BEST_YAML
from chestseg.tuning.result import Outcome, decisions, schedule, spent, summary, window_in_words
from chestseg.tuning.window_report import windows_section

REPORT = "report.html"
UNITS = {"flops": "FLOPs", "seconds": "s"}
MOST_PARAMETERS = 12
"""In the pictures of parameters: the most important ones."""


def write_report(outcome: Outcome, folder: Path) -> None:
    """Write `report.html` beside the result's other files."""
    blocks: list[Block] = [*_result(outcome, folder), *_progress(outcome), *_schedules(outcome), *windows_section(outcome)]
    blocks += [*_front(outcome), *_parameters(outcome), *_trials(outcome), *_setting(outcome)]
    sweep = outcome.sweep
    made = f"chestseg {__version__}; sweep {sweep.name}, digest {sweep.digest}"
    write_page(Page(f"Sweep {sweep.name}", _in_short(outcome), blocks, made), folder / REPORT)


def _in_short(outcome: Outcome) -> str:
    found, best = summary(outcome), outcome.best
    told = ", ".join(f"{count} {WORDS[state]}" for state, count in found["trials"].items() if count)
    if best is None:
        return f"No trial finished ({told or 'none was started'}), so there is no best configuration."
    scores = " and ".join(map(" ".join, zip(map(name, outcome.objectives), _values(outcome, best), strict=True)))
    where = f" ({schedule(outcome.experiments[best.number])})" if best.number in outcome.experiments else ""
    return f"Trial {best.number}{where} is the best of {len(outcome.records)} ({told}): {scores} on the held-out fold."


def _result(outcome: Outcome, folder: Path) -> list[Block]:
    best = outcome.best
    if best is None or best.number not in outcome.experiments:
        return []
    experiment = outcome.experiments[best.number]
    facts = [
        ("trial", str(best.number)),
        *zip(map(name, outcome.objectives), _values(outcome, best), strict=True),
        ("schedule", schedule(experiment)),
        ("weights averaged", window_in_words(experiment.stages[-1])),
        ("compute", f"{spent(best):.3g} {UNITS[outcome.sweep.budget.unit]}, {outcome.share(best):.0%} of a trial's budget"),
        *((key, _shown(value)) for key, value in best.params.items()),
    ]
    return [
        Heading("Result"),
        Table(["", "best trial"], facts),
        Note(
            f"The score is the best of {sum(r.state == 'complete' for r in outcome.records)} finished trials on the very cases that chose "
            f"it (fold {experiment.fold}), and so too high. Train the configuration on other folds for a score that holds."
        ),
        Listing(f"python jobs/train.py {folder / BEST_YAML}", "trains the best configuration again; with --set fold=1 on another fold"),
    ]


def _progress(outcome: Outcome) -> list[Block]:
    budget = outcome.sweep.budget
    found = summary(outcome)
    spared = f"{found['compute']:.3g} {UNITS[budget.unit]} were spent"
    if outcome.sweep.pruner and found["compute_without_stops"]:
        part = found["compute"] / found["compute_without_stops"]
        spared += f", {part:.0%} of what the same trials would have taken without stops"
    caption = (
        f"{name(outcome.sweep.metric)} on the held-out fold while training; 100 % is {budget.per_trial:.3g} {UNITS[budget.unit]}. "
        "A dotted end leads to the score of the final weights, averaged and post-processed as they are served."
    )
    return [
        Heading("Trials against compute"),
        Paragraph(f"Trials are compared at equal compute, whatever their schedules. {spared}."),
        Figure(draw_progress(outcome), "a line for each trial: metric against share of the compute budget", caption, chart=True),
        *_rungs(outcome),
    ]


def _rungs(outcome: Outcome) -> list[Block]:
    """What was decided at each rung."""
    pruner = outcome.sweep.pruner
    if pruner is None:
        return [Paragraph("No trial is stopped early in this sweep.")]
    rows = []
    for place, share in enumerate(pruner.rungs):
        met = [report for record in outcome.records for report in record.reports if report.rung == place]
        on, off = ([report.value for report in met if report.goes_on is goes_on] for goes_on in (True, False))
        rows.append((str(place + 1), f"{share:.0%}", str(len(met)), str(len(on)), str(len(off)), _least(on), _least([-v for v in off], -1)))
    columns = ["rung", "compute", "came there", "went on", "stopped", "lowest that went on", "highest that stopped"]
    caption = (
        f"A trial goes on where it is among the best 1 in {pruner.reduction} of those that came to the rung before it, and itself. Who "
        "comes early is compared with few, so a value that went on may be below one that stopped."
    )
    return [Table(columns, rows, caption)]


def _schedules(outcome: Outcome) -> list[Block]:
    if not any(record.number in outcome.experiments and value_of(record) is not None for record in outcome.records):
        return []
    caption = (
        "Each mark is a trial, in the row of its resolutions; in brackets how many there are. Hollow marks were stopped: theirs is "
        f"the value of less compute. Of more than {MOST_ROWS} rows, those with the best trials are shown."
    )
    return [
        Heading("The schedule"),
        Figure(draw_schedules(outcome), "the metric of each trial by its sequence of resolutions", caption, chart=True),
    ]


def _front(outcome: Outcome) -> list[Block]:
    front = sorted(outcome.front, key=lambda record: record.values[1])
    if not front:
        return []
    rows = [(str(r.number), *_values(outcome, r), _schedule(outcome, r), f"pareto-{r.number:04d}.yaml") for r in front]
    return [
        Heading("Two objectives"),
        Paragraph("No other finished trial is better than one of these in one objective without being worse in the other."),
        Figure(
            draw_front(outcome), "both objectives of every finished trial, the Pareto front as a line", "Numbers are those of trials.", True
        ),
        Table(["trial", name(outcome.objectives[0]), name(outcome.objectives[1]), "schedule", "file"], rows),
    ]


def _parameters(outcome: Outcome) -> list[Block]:
    found = {
        objective: importance(outcome.records, standing(outcome.records, place, lower_is_better=place == 1))
        for place, objective in enumerate(outcome.objectives)
    }
    shares = found[outcome.sweep.metric]
    names = [one.name for one in shares] or sorted({key for record in outcome.records for key in record.params})
    shown = varying(outcome, names)[:MOST_PARAMETERS]
    blocks: list[Block] = [Heading("Parameters")]
    if shares:
        blocks.append(Paragraph(_importance_in_words(len(standing(outcome.records)))))
        for objective, each in found.items():
            caption = f"For {name(objective)}. A grey bar is no more than chance."
            blocks.append(Figure(draw_importance(each), f"importance of parameters for {name(objective)}", caption, chart=True))
    else:
        blocks.append(Paragraph(f"Importance is not given for fewer than {FEWEST} trials that finished or were stopped."))
    if shown:
        caption = "Hollow marks were stopped: theirs is the value of less compute."
        blocks.append(Figure(draw_slices(outcome, shown), "the metric against each parameter", caption, chart=True))
        caption = "A line for each trial, dashed where it was stopped; it runs at the bottom where the trial does not have the parameter."
        blocks.append(Figure(draw_parallel(outcome, shown), "parallel coordinates of all trials", caption, chart=True, wide=True))
    return blocks


def _importance_in_words(trials: int) -> str:
    return (
        f"Importance is PED-ANOVA's: how far the best trials (a tenth, at least {BEST}) lie from all {trials} along a parameter. It covers "
        "parameters that only some trials have, and asks only who is among the best: trials stopped count below those that finished, "
        "or that were stopped at a later rung, so unequal compute does not enter. It says nothing about parameters acting together, and "
        "speaks of the region the sampler looked at. Few trials show importance where there is none: the line across a bar stays above "
        f"95 % of {SHUFFLES} shuffles of the same values. Names count from a schedule's end: lr.last is the last stage's rate, "
        "lr.last-1 that of the stage before; place is where its resolution lies between the lowest allowed (0) and the highest (1)."
    )


def _trials(outcome: Outcome) -> list[Block]:
    columns = ["trial", "state", *map(name, outcome.objectives), "compute", "schedule", "at rungs"]
    rows = [
        (
            str(record.number), WORDS[record.state], *_values(outcome, record), f"{outcome.share(record):.0%}",
            _schedule(outcome, record), decisions(record),
        )
        for record in outcome.records
    ]  # fmt: skip
    failed = [(str(r.number), str(r.extra.get("reason", ""))) for r in outcome.records if r.state == "failed"]
    table = Table(columns, rows, "trials.csv has their parameters too.")
    return [Heading("All trials"), table, *([Table(["trial", "why it failed"], failed)] if failed else [])]


def _setting(outcome: Outcome) -> list[Block]:
    sweep = outcome.sweep
    facts = [
        ("base experiment", " ".join([sweep.base, *(f"--set {override}" for override in sweep.set)])),
        ("prepared data", outcome.base.data.prepared),
        ("held-out fold", str(outcome.base.fold)),
        ("budget of a trial", f"{sweep.budget.per_trial:.4g} {UNITS[sweep.budget.unit]}"),
        ("trials", str(sweep.trials)),
        ("sampler, seed", f"{sweep.sampler}, {sweep.seed}"),
        ("metric", sweep.metric),
    ]
    return [Heading("Setting"), Table(["", "value"], facts)]


def _schedule(outcome: Outcome, record: TrialRecord) -> str:
    return schedule(outcome.experiments[record.number]) if record.number in outcome.experiments else "-"


def _values(outcome: Outcome, record: TrialRecord) -> list[str]:
    values = [_score(place, value) for place, value in enumerate(record.values)]
    return values + ["-"] * (len(outcome.objectives) - len(values))


def _score(objective: int, value: float) -> str:
    """The metric with four digits after the point; the second objective, of whatever size, with four in all."""
    return f"{value:.4g}" if objective else f"{value:.4f}"


def _least(values: Sequence[float], sign: int = 1) -> str:
    return f"{sign * min(values):.4f}" if values else "-"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
