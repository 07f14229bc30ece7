"""What comparing windows may cost, and what is shown to whom for it: a pure function of experiment, dataset and settings.

Costs are counted in forward passes of one image (a patch, of volumes) at the last stage's resolution; a training step's is three.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chestseg.config import Experiment, RadiographStage, Spacing, Stage, VolumeStage, Windows
from chestseg.inference.sliding_window import window_corners
from chestseg.training.run import training_cases
from chestseg.training.validation import VOLUME_OVERLAP

STEP = 3
"""Forward passes that a forward and backward pass cost."""
FINALISTS = 3
"""Windows that are not halved any more."""
PROBED = 4
"""Cases on which probabilities are compared between a subset's batch-norm statistics and a full pass's."""


@dataclass(frozen=True)
class Round:
    """So many windows are scored on the first `cases` of the held-out ones."""

    windows: int
    cases: int


@dataclass(frozen=True)
class Plan:
    """Who is scored on what."""

    rounds: tuple[Round, ...]
    batches: int
    """Micro-batches for a window's batch-norm statistics."""
    full: int
    """Micro-batches of the full pass the chosen window's statistics are checked against."""
    epoch: int
    """Micro-batches of a whole epoch, of which `full` are what can be paid."""
    checked: int
    """Cases of that check."""
    cost: float
    trial: float
    """The trial's own."""


def plan_scores(experiment: Experiment, dataset: Any, spec: Windows, windows: int, cases: int, has_norms: bool) -> Plan:
    """Spend `spec.share` of the trial's compute: a quarter on the check's full pass, a third on statistics, the rest on cases.

    What is not needed in one place goes to the next. One micro-batch and one case for each window are the least.

    Args:
        experiment: the trial's.
        dataset: its cases.
        spec: what may be spent.
        windows: how many there are.
        cases: held-out ones that count.
        has_norms: whether batch-norm statistics must be estimated at all.
    """
    stage, trial = experiment.stages[-1], trial_cost(experiment, dataset)
    held = training_cases(experiment, dataset)
    each, batch, left = patches_per_case(stage, dataset, held.validation), stage.images_per_micro_batch, spec.share * trial
    epoch = _steps(stage, len(held.training)) * stage.micro_batches
    full = batches = 0
    if has_norms:
        full = min(epoch, max(1, int(left / 4 / batch)))
        batches = min(epoch, spec.batch_norm_batches, max(1, int(left / 3 / (windows * batch))))
    left -= batch * (full + windows * batches)
    checked = min(cases, max(1, int(left / 16 / each)))
    left -= each * (checked + 2 * min(checked, PROBED))
    rounds = halving(windows, cases, left / each)
    left -= each * _cost(rounds)
    if has_norms and left > 0:  # all cases were affordable
        more = min(min(epoch, spec.batch_norm_batches) - batches, int(left / (windows * batch)))
        batches, left = batches + more, left - more * windows * batch
        more = min(epoch - full, int(left / batch))
        full, left = full + more, left - more * batch
    return Plan(tuple(rounds), batches, full, epoch, min(checked, rounds[-1].cases), spec.share * trial - left, trial)


def halving(windows: int, cases: int, budget: float) -> list[Round]:
    """Rounds of half the windows on twice the cases, the first on as many as `budget`, in cases scored, pays for; one case at least.

    All windows see all cases where that fits: one round. The finalists get what is left.
    """
    rounds = _rounds(windows, cases, 1)
    for first in range(2, cases + 1):
        larger = _rounds(windows, cases, first)
        if _cost(larger) > budget:
            break
        rounds = larger
    left = max(0, int((budget - _cost(rounds)) / rounds[-1].windows))
    return [*rounds[:-1], Round(rounds[-1].windows, min(cases, rounds[-1].cases + left))]


def held_out(experiment: Experiment, dataset: Any, metric: str) -> tuple[int, ...]:
    """Indices of the held-out cases that `metric` counts, ordered so that the first few are of all sizes of masks, empty ones included.

    Raises:
        ValueError: there is none.
    """
    cases = training_cases(experiment, dataset)
    at = cases.compare_at or _resolution(experiment.stages[-1])
    areas = np.array([int(np.count_nonzero(dataset.mask(int(case), at))) for case in cases.validation])
    wanted = {"val_dice_positives": areas > 0, "val_negatives_empty": areas == 0}.get(metric, np.ones(len(areas), bool))
    if not wanted.any():
        raise ValueError(f"metric {metric}: fold {experiment.fold} holds no case that it counts: give another metric or fold")
    by_area = cases.validation[wanted][np.argsort(areas[wanted], kind="stable")]
    return tuple(int(by_area[place]) for place in spread(len(by_area)))


def spread(count: int) -> list[int]:
    """The numbers below `count` in an order whose every beginning covers them evenly (van der Corput's sequence in base 2)."""
    bits = max(1, math.ceil(math.log2(max(2, count))))
    places = (int(f"{k:0{bits}b}"[::-1], 2) * count >> bits for k in range(1 << bits))
    return list(dict.fromkeys(places))


def trial_cost(experiment: Experiment, dataset: Any) -> float:
    """Of the training: its steps, validations and averages."""
    cases = training_cases(experiment, dataset)
    pixels, total = _pixels(experiment.stages[-1]), 0.0
    for stage in experiment.stages:
        validation = len(cases.validation) * patches_per_case(stage, dataset, cases.validation)
        images = STEP * stage.epochs * _steps(stage, len(cases.training)) * stage.batch
        images += math.ceil(stage.epochs / stage.validate_every) * validation
        if stage.swa:
            images += stage.swa.batch_norm_batches * stage.images_per_micro_batch + validation
        total += images * _pixels(stage) / pixels
    return total


def patches_per_case(stage: Stage, dataset: Any, cases: np.ndarray) -> float:
    """Images a validation shows the network of one case, in the mean."""
    if not isinstance(stage, VolumeStage) or not len(cases):
        return 1.0
    shapes = [dataset.image(int(case), stage.spacing).shape for case in cases]
    return float(np.mean([len(window_corners(shape, stage.patch, VOLUME_OVERLAP)) for shape in shapes]))


def _rounds(windows: int, cases: int, first: int) -> list[Round]:
    rounds = [Round(windows, min(first, cases))]
    while rounds[-1].windows > FINALISTS and rounds[-1].cases < cases:
        rounds.append(Round(math.ceil(rounds[-1].windows / 2), min(2 * rounds[-1].cases, cases)))
    return rounds


def _cost(rounds: list[Round]) -> int:
    before = [0, *(r.cases for r in rounds[:-1])]
    return sum(r.windows * (r.cases - seen) for r, seen in zip(rounds, before, strict=True))


def _steps(stage: Stage, training: int) -> int:
    return max(1, (stage.cases_per_epoch or training) // stage.batch)


def _pixels(stage: Stage) -> int:
    if isinstance(stage, VolumeStage):
        return math.prod(stage.patch)
    assert isinstance(stage, RadiographStage)
    return stage.size**2


def _resolution(stage: Stage) -> int | Spacing:
    if isinstance(stage, VolumeStage):
        return stage.spacing
    assert isinstance(stage, RadiographStage)
    return stage.size
