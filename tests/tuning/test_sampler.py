"""A trial's parameters depend on its number, the sweep's seed and what the sampler was told, and on nothing else."""

import json
import math
import os
import subprocess
import sys

import optuna
import pytest

from chestseg.tuning.records import Asked, Direction, Finished, Reported, State, TrialRecord, records_of
from chestseg.tuning.sampler import Kind, Sampler
from tests.conftest import ROOT
from tests.tuning.simulated import conditional, numeric

KINDS: tuple[Kind, ...] = ("tpe", "random", "cmaes")


def sampler(kind: Kind, seed: int = 0) -> Sampler:
    return Sampler(kind, seed, numeric if kind == "cmaes" else conditional, fixed_numeric=kind == "cmaes")


def ended(number: int, asked: tuple[dict, dict], value: float, state: State = "complete", rung: int | None = None) -> TrialRecord:
    reported = [] if rung is None else [Reported(number, 1, 1.0, value, False, rung)]
    return records_of([Asked(number, *asked), *reported, Finished(number, state, (value,))])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_asks_for_other_trials(kind: Kind) -> None:
    first, same, other = sampler(kind), sampler(kind), sampler(kind, seed=1)
    asked = [(first.ask(number), same.ask(number), other.ask(number)) for number in range(4)]
    assert all(a == b != c for a, b, c in asked)
    assert len({str(a) for a, _, _ in asked}) == 4


def test_distributions_are_optunas() -> None:
    params, distributions = sampler("tpe").ask(0)
    assert params.keys() == distributions.keys()
    rate = optuna.distributions.json_to_distribution(json.dumps(distributions["rate.0"]))
    assert rate == optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)


def test_trials_come_in_their_order() -> None:
    with pytest.raises(AssertionError):
        sampler("random").ask(1)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_it_learns_from_complete_and_pruned_trials(kind: Kind, direction: Direction) -> None:
    learning = Sampler(kind, 2, numeric, (direction,), fixed_numeric=True)
    sign = 1 if direction == "maximize" else -1
    shares = []
    for number in range(60):
        asked = learning.ask(number)
        shares.append(asked[0]["share.1"])
        value = -sign * abs(shares[-1] - 0.3)
        pruned = number % 3 > 0
        learning.tell(ended(number, asked, value, "pruned" if pruned else "complete", rung=1 if pruned else None))
    assert sum(abs(share - 0.3) for share in shares[-15:]) < 0.6 * sum(abs(share - 0.3) for share in shares[:15])


@pytest.mark.parametrize("kind", KINDS)
def test_nan_and_failed_trials_are_taken(kind: Kind) -> None:
    taking = sampler(kind)
    for number in range(30):
        asked = taking.ask(number)
        assert all(not isinstance(value, float) or math.isfinite(value) for value in asked[0].values())
        if number % 2:
            taking.tell(ended(number, asked, math.nan, "pruned", rung=0))
        else:
            taking.tell(records_of([Asked(number, *asked), Finished(number, "failed")])[0])


def test_cmaes_refuses_a_space_that_is_not_fixed_numbers() -> None:
    with pytest.raises(ValueError, match="^sampler cmaes: the space has conditional or categorical parameters: use .*random$"):
        Sampler("cmaes", 0, conditional)


def test_cmaes_refuses_two_objectives() -> None:
    with pytest.raises(ValueError, match="^sampler cmaes: there are two objectives: .*leave out `second`$"):
        Sampler("cmaes", 0, numeric, ("maximize", "minimize"), fixed_numeric=True)


PROGRAM = """
from tests.tuning.simulated import conditional, objective
from tests.tuning.test_sampler import ended, sampler

asking = sampler("tpe")
for number in range(16):
    asked = asking.ask(number)
    print(asked[0])
    if number % 3:
        asking.tell(ended(number, asked, asked[0]["rate.0"]))
"""


def test_another_process_asks_for_the_same() -> None:
    """Python orders sets of names anew in every process, and a sweep started again is another process."""
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert len(said.pop().splitlines()) == 16
