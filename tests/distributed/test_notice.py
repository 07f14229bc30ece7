"""A node that is said to go: the run is saved at once and goes on without it, and no step is done twice."""

import time
from pathlib import Path

import pytest

from chestseg.distributed.drill import ended, finish
from chestseg.distributed.drill_account import repeated, same_weights, skipped
from chestseg.tracking.histories import difference
from tests.distributed.drilled import stage

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]


def test_a_notice_costs_no_step_though_checkpoints_are_rare(tmp_path: Path) -> None:
    with stage(tmp_path, (1, 1), epochs=(20, 4), every=1000, env={"RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.2"}) as on:
        told = on.run("told", training__max_failures=0)
        with ended(told):
            told.start()
            told.wait_for_step(3)
            going, since = on.cluster.nodes[0], time.time()
            on.cluster.drain(going, seconds=600)
            on.cluster.add_node()
            told.wait_for_progress(since)
            assert not going.workers()
            on.cluster.lose(going)
            finish(told)
        steps, alone = told.steps(), on.left_alone()
        assert repeated(steps) == 0 and skipped(steps, alone.steps()) == 0
        assert "a machine is to go: saved, going on elsewhere" in told.log.read_text()
        own, other = Path(told.experiment.run_folder), Path(alone.experiment.run_folder)
        assert same_weights(own, other) and not difference(own, other).any
