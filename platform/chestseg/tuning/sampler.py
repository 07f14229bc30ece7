"""Where a new trial's parameters come from: Optuna's samplers, asked so that a sweep started again asks the same."""

import json
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import distribution_to_json
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from chestseg.seed import seed_for
from chestseg.tuning.records import Direction, TrialRecord

Kind = Literal["tpe", "random", "cmaes"]


class Sampler:
    """A study in memory that is told what the journal says, in the journal's order.

    Every trial gets a sampler of its own, seeded by its number, so the study is all the state there is: nothing else, such as the state
    of CMA-ES, has to be kept.
    """

    def __init__(
        self,
        kind: Kind,
        seed: int,
        suggest: Callable[[optuna.Trial], dict[str, Any]],
        directions: Sequence[Direction] = ("maximize",),
        fixed_numeric: bool = False,
    ) -> None:
        """Start with no trials.

        Args:
            kind: of the sampler.
            seed: the sweep's.
            suggest: draws a point of the space with `Trial.suggest_*` and returns the parameters; the same ones for the same draws.
            directions: of the objectives, one or two.
            fixed_numeric: whether the space always has the same parameters and all of them are numbers.

        Raises:
            ValueError: CMA-ES can't search this space or these objectives.
        """
        if kind == "cmaes" and not fixed_numeric:
            raise ValueError("sampler cmaes: the space has conditional or categorical parameters: use the sampler tpe or random")
        if kind == "cmaes" and len(directions) > 1:
            raise ValueError("sampler cmaes: there are two objectives: use the sampler tpe or random, or leave out `second`")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._kind, self._seed, self._suggest, self._directions = kind, seed, suggest, tuple(directions)
        self._study = optuna.create_study(directions=list(directions))
        self._running: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters of the next trial, and what each was drawn from (Optuna's JSON, parsed)."""
        self._expect(number)
        return self._draw(number)

    def repeat(self, number: int, params: dict[str, Any]) -> None:
        """Take a trial of an earlier start, with the parameters it got then."""
        self._expect(number)
        self._study.enqueue_trial(params)
        self._draw(number)

    def tell(self, record: TrialRecord) -> None:
        """Take a trial's end.

        A stopped trial counts with the rung it came to, not with its steps, which say nothing across different schedules, and as worst
        where its value is NaN.
        """
        trial = self._running.pop(record.number)
        if record.state == "complete":
            self._study.tell(trial, list(record.values))
        elif record.state == "pruned":
            if record.reports:
                trial.report(self._comparable(record.reports[-1].value), step=record.reports[-1].rung or 0)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _expect(self, number: int) -> None:
        assert number == len(self._study.get_trials(deepcopy=False)), "trials are asked for in their order"

    def _draw(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        self._study.sampler = self._sampler(seed_for(self._seed, "trial", number) % 2**32)
        trial = self._running[number] = self._study.ask()
        # Sampled even where the parameters are given: CMA-ES then steps, and TPE leaves the mark of a running trial, as the first time.
        _ = trial.relative_params
        self._suggest(trial)
        return trial.params, {name: json.loads(distribution_to_json(d)) for name, d in trial.distributions.items()}

    def _sampler(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self._kind == "tpe":
                return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
            if self._kind == "cmaes":
                return CmaEsSampler(seed=seed, consider_pruned_trials=True, warn_independent_sampling=False)
            return RandomSampler(seed=seed)

    def _comparable(self, value: float) -> float:
        worst = -math.inf if self._directions[0] == "maximize" else math.inf
        return worst if math.isnan(value) else value
