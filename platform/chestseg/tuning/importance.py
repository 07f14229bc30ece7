"""Which parameters decided whether a trial came out among the best, by Optuna's PED-ANOVA, and what chance alone would give.

PED-ANOVA (Watanabe et al. 2023; for conditional spaces Optuna's version of 2026) compares where the best trials lie along a parameter
with where all of them lie. It fits a sweep better than fANOVA: a parameter that only some trials have is assessed too (fANOVA leaves it
out), and it asks only who is among the best, so trials stopped early count as they were judged, where fANOVA would regress on values that
were reached with unequal compute. With few trials either method finds importance in noise: hence the shares of shuffled trials beside it.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.importance import PedAnovaImportanceEvaluator

from chestseg.tuning.records import TrialRecord

FEWEST = 10
"""Trials below which nothing is said."""
BEST = 5
"""Trials that count as the best at least; Optuna advises against fewer."""
BEST_SHARE = 0.1
SHUFFLES = 100
CHANCE = 0.95
"""Quantile of the shuffled trials' importance that is shown as chance."""


@dataclass(frozen=True)
class Importance:
    """Of one parameter."""

    name: str
    share: float
    """0 to 1, over all parameters together 1."""
    chance: float
    """What it stays below in 95 % of shuffles, in which the places are dealt anew to the trials; on the scale of `share`."""
    trials: int
    """How many of the trials have the parameter."""


def distributions_of(record: TrialRecord) -> dict[str, BaseDistribution]:
    """What each of a trial's parameters was drawn from."""
    return {name: json_to_distribution(json.dumps(told)) for name, told in record.distributions.items()}


def standing(records: Sequence[TrialRecord], objective: int = 0, lower_is_better: bool = False) -> dict[int, float]:
    """Trial number -> place from the worst (0) upwards.

    A trial that was stopped stands below every finished one, and below those stopped at a later rung; at the same rung the value decides.
    Failed and running trials have no place. Equal trials share one.
    """

    def key(record: TrialRecord) -> tuple[bool, int, float]:
        value = -record.values[objective] if lower_is_better else record.values[objective]
        return record.state == "complete", _last_rung(record), -math.inf if math.isnan(value) else value

    keys = {record.number: key(record) for record in records if _ended(record)}
    order = sorted(set(keys.values()))
    return {number: float(order.index(key)) for number, key in keys.items()}


def importance(records: Sequence[TrialRecord], places: Mapping[int, float]) -> list[Importance]:
    """Shares of the parameters in coming out among the best, the largest first.

    Args:
        records: of the sweep.
        places: of the trials that count, as from `standing`; with fewer than 10 the answer is empty.
    """
    placed = [record for record in records if record.number in places]
    if len(placed) < FEWEST:
        return []
    study = _study(placed)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(BEST_SHARE, BEST / len(placed)))
    values = np.array([places[record.number] for record in placed])
    found = _divergences(study, evaluator, values)
    draw = np.random.default_rng(0)
    shuffled = [_divergences(study, evaluator, draw.permutation(values)) for _ in range(SHUFFLES)]
    whole = sum(found.values()) or 1.0
    chance = {name: float(np.quantile([one[name] for one in shuffled], CHANCE)) / whole for name in found}
    having = {name: sum(name in record.params for record in placed) for name in found}
    shares = [Importance(name, value / whole, chance[name], having[name]) for name, value in found.items()]
    return sorted(shares, key=lambda i: (-i.share, i.name))


def _ended(record: TrialRecord) -> bool:
    return record.state in ("complete", "pruned") and len(record.values) > 0


def _last_rung(record: TrialRecord) -> int:
    return max((report.rung for report in record.reports if report.rung is not None), default=-1)


def _study(records: Sequence[TrialRecord]) -> optuna.Study:
    """A study in memory whose trials are all complete; their values do not matter, `target` gives them."""
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="maximize")
    study.add_trials([optuna.create_trial(params=r.params, distributions=distributions_of(r), value=0.0) for r in records])
    return study


def _divergences(study: optuna.Study, evaluator: PedAnovaImportanceEvaluator, places: np.ndarray) -> dict[str, float]:
    """How far the best trials lie from all of them, by parameter, not normalised; `places` are the trials' in the study's order."""

    def target(trial: optuna.trial.FrozenTrial) -> float:
        return -float(places[trial.number])

    with warnings.catch_warnings():
        # That low targets count as good is known here, and that some values of a parameter were met once; the report says it.
        for category in (UserWarning, optuna.exceptions.ExperimentalWarning):
            warnings.simplefilter("ignore", category)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, target=target, normalize=False)
