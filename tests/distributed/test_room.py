"""Room is counted node by node; what does not fit is refused, or waited for where nodes may come."""

from typing import Any

import pytest

from chestseg.config import Experiment, Training
from chestseg.distributed import room, score_folds
from chestseg.distributed.cluster import SUBMITTED
from chestseg.distributed.room import Nodes, lack, require_room, trainings_held, trials_at_once, uses_gpu, waited_for, workers_held
from tests.tuning.spaces import small_base, small_sweep

HEAD = [{"CPU": 16.0}]
"""Of cluster.yaml, before any GPU node is up."""
FOURS = [{"CPU": 4.0, "memory": 1e9}] * 4


def one(cpus: float, gpus: float = 0) -> Nodes:
    return [{"CPU": cpus, "GPU": gpus}]


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a submitted job, whose cluster may grow."""
    monkeypatch.setenv(SUBMITTED, "{}")


@pytest.mark.parametrize(
    ("training", "nodes", "at_once"),
    [
        ({"cpus_per_worker": 2}, one(2), 1),
        ({"cpus_per_worker": 1}, one(2), 2),
        ({"cpus_per_worker": 1}, one(64), 4),
        ({"cpus_per_worker": 4, "workers": 2}, one(17), 2),
        ({"cpus_per_worker": 1, "gpu": "yes"}, one(64, 3), 3),
        ({"cpus_per_worker": 1, "workers": 2, "gpu": "auto"}, one(64, 5), 2),
        ({"cpus_per_worker": 1, "workers": 2, "gpu": "auto"}, one(64, 1), 4),
        ({"cpus_per_worker": 1, "gpu": "no"}, one(3, 8), 3),
        ({"cpus_per_worker": 3}, FOURS, 4),
        ({"cpus_per_worker": 3, "workers": 2}, FOURS, 2),
        ({"cpus_per_worker": 4, "workers": 3, "min_workers": 2}, FOURS[:2], 1),
        ({"cpus_per_worker": 4, "gpu": "yes"}, [*HEAD, {"CPU": 8.0, "GPU": 1.0}], 1),
    ],
)
def test_trials_at_once_follow_from_the_nodes(training: dict[str, Any], nodes: Nodes, at_once: int) -> None:
    assert trials_at_once(small_sweep(), Training(**training), nodes, grows=False) == at_once


def test_fewer_at_once_may_be_asked_for() -> None:
    assert trials_at_once(small_sweep(at_once=3), Training(gpu="no"), one(64), grows=False) == 3


@pytest.mark.parametrize(
    ("sweep", "training", "nodes", "told"),
    [
        ({}, {"cpus_per_worker": 9}, one(8), "a trial needs 1 x 9 CPU, the cluster has 8 CPU: lower training.workers"),
        ({}, {"workers": 9}, one(8), "a trial needs 9 x 1 CPU"),
        ({}, {"gpu": "yes"}, one(8), "needs 1 x 1 CPU and 1 GPU, the cluster has 8 CPU and 0 GPU"),
        ({"at_once": 5}, {"cpus_per_worker": 2}, one(8), "the cluster has 8 CPU: lower at_once to 4"),
        ({}, {"cpus_per_worker": 8}, FOURS, "needs 1 x 8 CPU, the cluster has 16 CPU on 4 nodes, which hold 0 such workers: lower"),
        ({}, {"cpus_per_worker": 8, "gpu": "yes"}, HEAD, "the cluster has 16 CPU and 0 GPU: lower"),
    ],
)
def test_what_the_nodes_can_not_hold_is_refused_where_none_will_come(
    sweep: dict[str, Any], training: dict[str, Any], nodes: Nodes, told: str
) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        trials_at_once(small_sweep(**sweep), Training(**{"gpu": "no"} | training), nodes, grows=False)
    assert "\n" not in str(caught.value)


def test_a_cluster_that_grows_is_asked_for_what_the_sweep_says_else_for_a_trial() -> None:
    training = Training(cpus_per_worker=8, gpu="yes")
    assert trials_at_once(small_sweep(trials=16, at_once=8), training, HEAD, grows=True) == 8
    assert trials_at_once(small_sweep(trials=16), training, HEAD, grows=True) == 1
    assert trials_at_once(small_sweep(trials=16), training, [*HEAD, *one(8, 1) * 3], grows=True) == 3
    told = "8 trials side by side need 1 x 8 CPU and 1 GPU each, the cluster has 16 CPU and 0 GPU and room for 0"
    assert waited_for("trials", training, HEAD, 8) == told
    assert waited_for("trials", training, one(64, 8), 8) is None


def test_a_gpu_is_taken_where_there_are_enough_for_the_fewest_workers() -> None:
    elastic = Training(workers=4, min_workers=2)
    assert uses_gpu(elastic, one(8, 2)) and not uses_gpu(elastic, one(8, 1))
    assert trials_at_once(small_sweep(), elastic, one(8, 2), grows=False) == 1


def test_a_worker_is_whole_on_one_node() -> None:
    training = Training(cpus_per_worker=8, gpu="no")
    assert (workers_held(training, FOURS), trainings_held(training, FOURS)) == (0, 0)
    assert lack("training", training, one(8)) is None


def test_training_waits_where_the_cluster_may_grow_and_is_refused_where_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "nodes_up", lambda: FOURS)
    training = Training(cpus_per_worker=8, gpu="no")
    with pytest.raises(ValueError, match="training needs 1 x 8 CPU, .* hold 0 such workers: lower training.workers"):
        require_room("training", training)
    monkeypatch.setenv(SUBMITTED, "{}")
    require_room("training", training)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("chestseg: note: training needs 1 x 8 CPU, ") and line.endswith("such workers: waiting for nodes")


def folds_of(**training: Any) -> Experiment:
    return small_base().model_copy(update={"training": Training(**training)})


@pytest.mark.parametrize(("nodes", "at_once"), [(FOURS, 1), (one(16), 2), (one(64), 5), (one(4), 1)])
def test_folds_are_trained_side_by_side_as_far_as_there_is_room(nodes: Nodes, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_folds, "nodes_up", lambda: nodes)
    assert score_folds.at_once(folds_of(cpus_per_worker=8, gpu="no"), 5) == at_once


@pytest.mark.usefixtures("joined")
def test_a_cluster_that_may_grow_is_asked_for_all_folds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(score_folds, "nodes_up", lambda: HEAD)
    assert score_folds.at_once(folds_of(cpus_per_worker=8, gpu="yes"), 5) == 5
    assert "5 folds side by side need 1 x 8 CPU and 1 GPU each" in capsys.readouterr().err
