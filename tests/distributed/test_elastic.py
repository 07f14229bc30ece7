"""Workers come and go with the nodes, and the loss curve stays what it was."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from chestseg.distributed.drill import ended, finish
from tests.distributed.drilled import losses, stage

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]

GIVES_UP = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15"}
"""Seconds for which Ray Train waits for room for as many workers as there were, before it looks how many there is room for."""
FOUR_MICRO_BATCHES = {"stages__0__batch": 8, "stages__1__batch": 8}
"""The sum of two has one order only, and would be equal bit for bit."""
SLOWLY = {"stages__0__optimiser__lr": 1e-4, "stages__1__optimiser__lr": 1e-4}
"""At a rate of 1e-3 training carries a difference of rounding on to 4e-3 in fifty epochs."""
TOLERANCE = 1e-3
"""Of a loss, relative: docs/reliability.md says why."""


def test_one_worker_two_and_one_again_give_the_curve_of_one(tmp_path: Path) -> None:
    with stage(tmp_path, (1,), epochs=(60, 6), env=GIVES_UP) as on:
        elastic = on.run("elastic", training__min_workers=1, training__resize_every=1, **FOUR_MICRO_BATCHES, **SLOWLY)
        with ended(elastic):
            elastic.start()
            elastic.wait_for_step(10)
            since = time.time()
            more = on.cluster.add_node()
            elastic.wait_for_progress(since)
            elastic.wait_for_step(elastic.steps()[-1].number + 10)
            on.cluster.lose(more)
            finish(elastic)
        counts = [int(count) for count in re.findall(r"training on (\d) x cpu", elastic.log.read_text())]
        assert counts == [1, 2, 1]
        alone = on.left_alone(training__workers=1, **FOUR_MICRO_BATCHES, **SLOWLY)
        one, other = losses(elastic), losses(alone)
        assert one.keys() == other.keys()
        differences = np.abs([one[key] / other[key] - 1 for key in one])
        print(f"largest difference {differences.max():.1e}, median {np.median(differences):.1e}")
        np.testing.assert_allclose([one[key] for key in other], list(other.values()), rtol=TOLERANCE)
