"""Ray tasks beside a trial that holds every CPU choose the window that the trial itself would choose."""

import dataclasses
import json
from pathlib import Path

import pytest
import ray
import torch

from chestseg.config import Windows
from chestseg.distributed.windows import choose_window
from chestseg.training.window_scores import LocalScorer
from chestseg.training.windows import choose
from tests.training.arrays_in_memory import ArraysInMemory
from tests.training.tails_in_memory import TAIL, tailed, trained

pytestmark = pytest.mark.ray

SPEC = Windows(tail=TAIL).model_copy(update={"share": 0.8})
"""Of a training this small a tenth would show each window less than one case."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a trained run."""
    folder = tmp_path_factory.mktemp("run")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trained(tailed("cxr", {"last": 1}), folder)
    torch.set_num_threads(threads)
    return folder


@ray.remote
def trial(folder: Path, cpus: int) -> str:
    """Chooses a window while it holds CPUs; the result as JSON."""
    result = choose_window(tailed("cxr", {"last": 1}), folder, SPEC, cpus, metric="val_dice", dataset=ArraysInMemory())
    return json.dumps(dataclasses.asdict(result))


def test_tasks_beside_a_trial_that_holds_all_cpus_choose_what_it_would_choose(cluster, folder: Path) -> None:
    everything = int(ray.cluster_resources()["CPU"])
    waiting = trial.options(num_cpus=everything).remote(folder, 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    experiment, dataset = tailed("cxr", {"last": 1}), ArraysInMemory()
    alone = choose(experiment, dataset, SPEC, LocalScorer(experiment, dataset, folder), "val_dice")
    torch.set_num_threads(threads)
    answer = json.loads(ray.get(waiting))
    assert answer.pop("seconds") > 0
    expected = json.loads(json.dumps(dataclasses.asdict(alone)))
    del expected["seconds"]
    assert answer == expected


def test_a_mistake_found_by_a_task_is_told_as_it_was_found(cluster, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\A\S+stage0-epoch\d{4}.safetensors: this epoch's weights are missing.*\Z"):
        choose_window(tailed("cxr", {"last": 1}), tmp_path, SPEC, 1, metric="val_dice", dataset=ArraysInMemory())
