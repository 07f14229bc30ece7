"""What faults cost is counted from the record of steps."""

import random
from itertools import pairwise

from chestseg.distributed.drill_account import Fault, repeated, skipped, tolls
from chestseg.distributed.drill_training import Step, moments


def steps(*attempts: tuple[int, range, float]) -> list[Step]:
    """By process, numbers, and the time of the first; a step a second."""
    return [Step(number, process, start + place) for process, numbers, start in attempts for place, number in enumerate(numbers)]


def test_each_fault_is_charged_with_the_steps_that_are_done_again_and_the_time_until_then() -> None:
    done = steps((1, range(1, 8), 0.0), (2, range(6, 12), 20.0), (3, range(11, 15), 40.0))
    cost = tolls([Fault("worker", 6.5, 7), Fault("driver", 26.0, 11)], done)
    assert [(toll.repeated, toll.seconds) for toll in cost] == [(2, 13.5), (1, 14.0)]
    assert repeated(done) == 3 and skipped(done, steps((1, range(1, 15), 0.0))) == 0


def test_faults_before_the_training_went_on_cost_their_steps_once() -> None:
    done = steps((1, range(1, 8), 0.0), (2, range(6, 12), 20.0))
    cost = tolls([Fault("worker", 6.5, 7), Fault("node", 10.0, 7)], done)
    assert [(toll.repeated, toll.seconds) for toll in cost] == [(2, 13.5), (0, 10.0)]


def test_what_does_not_stop_a_training_costs_nothing() -> None:
    done = steps((1, range(1, 8), 0.0), (2, range(8, 12), 20.0))
    [cost] = tolls([Fault("MLflow", 2.0, 2, stops=False)], done)
    assert (cost.repeated, cost.seconds) == (0, 0.0)


def test_a_step_left_out_is_found() -> None:
    assert skipped(steps((1, range(1, 4), 0.0), (2, range(5, 8), 9.0)), steps((1, range(1, 8), 0.0))) == 1


def test_moments_keep_apart_and_off_the_end() -> None:
    for seed in range(50):
        drawn = moments(random.Random(seed), 5, 112, apart=14)
        assert all(after - before >= 14 for before, after in pairwise(drawn)) and drawn[0] >= 1 and drawn[-1] <= 106
