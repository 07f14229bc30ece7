"""Windows of weight averaging, chosen after a training from the snapshots of its tail: no epoch is trained again.

Every window's average gets batch-norm statistics of its own from a part of the training images and is scored on held-out cases. Where
the share of the trial's compute does not pay for all windows on all cases, the better half goes on to more cases (successive halving,
Jamieson and Talwalkar 2016). What a round has seen is kept, so no image is shown twice to a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chestseg.config import Experiment, Swa, Windows
from chestseg.training.averaging import spanned
from chestseg.training.group import Group
from chestseg.training.run import write_weights
from chestseg.training.validation import METRICS, summary
from chestseg.training.window_plan import Plan, Round, held_out, plan_scores
from chestseg.training.window_scores import Job, Scorer, Scores, last_stage

WINDOWED = "windowed.safetensors"


class Window(NamedTuple):
    """Which epochs are averaged: the keys of `Swa` that say so."""

    skip: int
    last: int
    stride: int

    def epochs(self, last_epoch: int) -> list[int]:
        """Counted from 0, ascending, when `last_epoch` is the stage's last."""
        return spanned(self.skip, self.last, self.stride, last_epoch)


@dataclass(frozen=True)
class WindowScore:
    """A window's row in the table."""

    skip: int
    last: int
    stride: int
    epochs: tuple[int, ...]
    cases: int
    """Held-out cases it was scored on."""
    score: float


@dataclass(frozen=True)
class Check:
    """How far the chosen window with batch-norm statistics of a subset is from itself with those of a full pass."""

    batches: int
    """Micro-batches of the full pass; 0 where no batch norm learns, and nothing differs."""
    epoch_batches: int
    """Micro-batches of an epoch: every training case once, unless `cases_per_epoch` says otherwise. The full pass is all of them if the
    share pays for it."""
    cases: int
    """Held-out cases on which the two scores below were taken."""
    score: float
    score_full: float
    probability_mean: float
    """Absolute difference of probabilities, mean over all pixels of up to 4 of these cases."""
    probability_largest: float


@dataclass(frozen=True)
class WindowResult:
    """The chosen window and how it was found; `dataclasses.asdict` makes JSON of it."""

    swa: dict[str, int]
    """Keys of the last stage's `swa` that make a training end with this window."""
    metric: str
    table: tuple[WindowScore, ...]
    """Every window, the chosen one first; those that saw more cases come before the others."""
    rounds: tuple[Round, ...]
    held_out: int
    """Cases of the held-out fold that the metric counts."""
    batch_norm_batches: int
    """Micro-batches behind each window's statistics; 0 where no batch norm learns."""
    check: Check
    """The chosen window's statistics against those of a full pass."""
    share: float
    """Of the trial's own compute, forward and backward passes counted as three forward ones."""
    seconds: float = 0.0
    """Of the clock, all of it; filled in by who lets others do the work."""
    told: tuple[str, ...] = ()
    """What could not be done as asked."""

    @property
    def window(self) -> Window:
        """The chosen one."""
        return Window(*(self.swa[key] for key in Window._fields))


def candidates(tail: int, last_epoch: int, count: int) -> list[Window]:
    """Windows of different epochs in the last `tail` epochs: `count` of them, or all there are.

    They are taken evenly from the list of all, ordered by stride, length and end; the last epoch alone, the whole tail and, where
    strides allow, windows of every length are among them.

    Args:
        tail: epochs, counted back from `last_epoch`; those before the first epoch are not there.
        last_epoch: of the stage, from 0.
        count: how many are wanted, at least 2.
    """
    tail = min(tail, last_epoch + 1)
    every = [Window(skip, 1, 1) for skip in range(tail)]
    for stride in range(1, tail):
        lengths = range(stride + 1, tail + 1, stride)  # of no epoch that is not averaged
        every += [Window(skip, last, stride) for last in lengths for skip in range(tail - last + 1)]
    if len(every) <= count:
        return every
    always = [Window(0, 1, 1), Window(0, tail, 1)]
    others = [window for window in every if window not in always]
    places = np.linspace(0, len(others) - 1, count - len(always)).round().astype(int)
    return [always[0], *(others[place] for place in places), always[1]]


def tail_of(experiment: Experiment) -> tuple[Swa, int]:
    """The last stage's averaging and its last epoch, from 0.

    Raises:
        ValueError: there is no tail to choose from, or no telling where it ends, or nothing to score it on.
    """
    stage, place = experiment.stages[-1], len(experiment.stages) - 1
    if stage.swa is None:
        raise ValueError(f"stages.{place}.swa is null: a window is chosen in a tail: give swa.tail")
    if stage.early_stop:
        raise ValueError(f"stages.{place}.early_stop: the tail's place is not known beforehand: set it to null to choose a window")
    if experiment.fold == "all":
        raise ValueError("fold is `all`: windows are scored on held-out cases: give a fold")
    return stage.swa, stage.epochs - 1


def with_window(experiment: Experiment, window: Window) -> Experiment:
    """The experiment whose last stage averages `window`; its tail, and so its training, stays as it was."""
    last = experiment.stages[-1]
    assert last.swa is not None
    swa = last.swa.model_copy(update=window._asdict() | {"tail": last.swa.constant})
    return experiment.model_copy(update={"stages": (*experiment.stages[:-1], last.model_copy(update={"swa": swa}))})


def final_weights(experiment: Experiment, dataset: Any, folder: Path, group: Group | None = None) -> Path:
    """Average the window that `experiment` says, from a trained run's snapshots, as its training would have.

    On a CPU with the same threads it has the bits of a training with that window set beforehand.

    Args:
        experiment: of the run, but for the window (`with_window`).
        dataset: what the run was trained on.
        folder: the run's.
        group: the device; the CPU when None.

    Returns:
        A file of weights in the run's folder, beside those it ended with.

    Raises:
        ValueError: snapshots are missing.
    """
    swa = experiment.stages[-1].swa
    assert swa is not None
    run = last_stage(experiment, dataset, folder, group or Group())
    run.load_average(Window(swa.skip, swa.last, swa.stride).epochs(experiment.stages[-1].epochs - 1))
    write_weights(run.engine.network, folder / WINDOWED)
    return folder / WINDOWED


def choose(experiment: Experiment, dataset: Any, spec: Windows, scorer: Scorer, metric: str) -> WindowResult:
    """Score the windows of a trained run's tail and choose one.

    Equal calls choose the same window on a CPU, whoever `scorer` lets do the work.

    Args:
        experiment: the run's, with averaging in its last stage.
        dataset: what it was trained on.
        spec: how many windows, and what they may cost.
        scorer: shows images to averages.
        metric: what decides, the higher the better: one of `validation.METRICS`.

    Raises:
        ValueError: nothing to choose from or to score on, an unknown metric, or snapshots that are missing.
    """
    swa, last_epoch = tail_of(experiment)
    if metric not in METRICS:
        raise ValueError(f"metric {metric}: windows are scored by one of {', '.join(METRICS)}")
    windows = candidates(min(swa.constant, spec.tail), last_epoch, spec.candidates)
    cases = held_out(experiment, dataset, metric)
    plan = plan_scores(experiment, dataset, spec, len(windows), len(cases), scorer.has_norms)
    race = _Race(windows, last_epoch, metric)
    for round_ in plan.rounds:
        race.run(round_, cases, scorer, plan.batches)
    best = race.ranked()[0]
    return WindowResult(
        swa=windows[best]._asdict() | {"tail": swa.constant},
        metric=metric,
        table=race.table(),
        rounds=plan.rounds,
        held_out=len(cases),
        batch_norm_batches=plan.batches,
        check=_checked(race, best, plan, scorer, cases[: plan.checked]),
        share=plan.cost / plan.trial,
        told=_told(plan, spec, len(windows), swa),
    )


def _checked(race: "_Race", best: int, plan: Plan, scorer: Scorer, cases: tuple[int, ...]) -> Check:
    known = race.scores[best]
    full = scorer.full(Job(race.epochs(best), cases, plan.batches, known.statistics), plan.full)
    score, score_full = (summary(sums)[race.metric] for sums in (known.sums[: len(cases)], full.sums))
    return Check(plan.full, plan.epoch, len(cases), score, score_full, full.mean, full.largest)


class _Race:
    """What is known of each window so far."""

    def __init__(self, windows: Sequence[Window], last_epoch: int, metric: str) -> None:
        self.windows, self.last_epoch, self.metric = windows, last_epoch, metric
        self.scores = [Scores(None, np.zeros((0, 3))) for _ in windows]

    def epochs(self, place: int) -> tuple[int, ...]:
        """Of a window, ascending."""
        return tuple(self.windows[place].epochs(self.last_epoch))

    def run(self, round_: Round, cases: tuple[int, ...], scorer: Scorer, batches: int) -> None:
        """Show the round's cases to the windows that are left, those that each has not seen yet."""
        left = sorted(self.ranked()[: round_.windows])
        known = [self.scores[place] for place in left]
        unseen = [cases[len(scores.sums) : round_.cases] for scores in known]
        jobs = [Job(self.epochs(p), new, batches, scores.statistics) for p, new, scores in zip(left, unseen, known, strict=True)]
        for place, before, found in zip(left, known, scorer.score(jobs), strict=True):
            self.scores[place] = Scores(found.statistics, np.concatenate([before.sums, found.sums]))

    def score(self, place: int) -> float:
        """By the cases seen."""
        return summary(self.scores[place].sums)[self.metric]

    def ranked(self) -> list[int]:
        """Windows from best to worst, those that saw more cases first; of equals the average of more and later epochs."""

        def rank(place: int) -> tuple[float, ...]:
            window, seen = self.windows[place], len(self.scores[place].sums)
            return -seen, -self.score(place) if seen else 0.0, -len(self.epochs(place)), window.skip, place

        return sorted(range(len(self.windows)), key=rank)

    def table(self) -> tuple[WindowScore, ...]:
        """A row a window, in this order."""
        return tuple(WindowScore(*self.windows[p], self.epochs(p), len(self.scores[p].sums), self.score(p)) for p in self.ranked())


def _told(plan: Plan, spec: Windows, windows: int, swa: Swa) -> tuple[str, ...]:
    told = []
    if windows < spec.candidates:
        told.append(f"a tail of {swa.constant} epochs has {windows} windows, {spec.candidates} were asked for: 6 epochs have 24")
    if plan.cost > spec.share * plan.trial:
        told.append(f"scoring costs {plan.cost / plan.trial:.0%} of the trial's compute at least, more than windows.share {spec.share:.0%}")
    return tuple(told)
