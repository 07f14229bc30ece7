"""A run that hears that its machine is to go is saved at the next step, by all workers alike, and goes on with the same bits."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from chestseg.training.group import Group
from chestseg.training.leaving import Leaving, Notice
from chestseg.training.reporter import FolderReporter
from chestseg.training.run import train
from tests.training.arrays_in_memory import ArraysInMemory, small_experiment

RARELY = {"precision": "fp32", "checkpoint_every": 1000}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Told(FolderReporter):
    """Hears of it after some step."""

    def __init__(self, folder: Path, at: int) -> None:
        super().__init__(folder)
        self.at = at

    def after_step(self, steps: int) -> bool:
        return steps >= self.at


@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_run_that_leaves_goes_on_with_the_same_bits_and_repeats_no_step(tmp_path: Path, at: int) -> None:
    experiment, arrays = small_experiment(training=RARELY), ArraysInMemory()
    undisturbed = train(experiment, arrays, Group(), FolderReporter(tmp_path / "one"), tmp_path / "one")
    steps: list[int] = []
    with pytest.raises(Leaving):
        train(experiment, arrays, Group(), Told(tmp_path / "checkpoints", at), tmp_path)
    reporter = FolderReporter(tmp_path / "checkpoints")
    reporter.after_step = lambda step: steps.append(step) or False  # type: ignore[method-assign]
    newest = reporter.newest()
    assert newest
    saved = int(newest.name.split("-")[1])
    final = train(experiment, arrays, Group(), reporter, tmp_path)
    assert final.read_bytes() == undisturbed.read_bytes()
    # Where the step was an epoch's last, it is saved one step later.
    assert saved in (at, at + 1) and steps[0] == saved + 1


def test_what_a_kill_left_unfinished_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-000000004-stage0.abcd1234").mkdir()
    (tmp_path / "step-000000003-stage0").mkdir()
    (tmp_path / "step-000000003-stage0" / "state.json").write_text("{}")
    newest = FolderReporter(tmp_path).newest()
    assert newest and newest.name == "step-000000003-stage0"
    assert [path.name for path in tmp_path.iterdir()] == [newest.name]


def hear(rank: int, folder: str, answers: "multiprocessing.Queue[tuple[int, list[bool]]]") -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    notice = Notice(Group(rank, 2))
    answers.put((rank, [notice.agreed(rank == 1 and step >= 2) for step in range(5)]))
    dist.destroy_process_group()


def test_what_one_worker_hears_all_know_one_step_later(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=hear, args=(rank, str(tmp_path), answers)) for rank in range(2)]
    for worker in workers:
        worker.start()
    heard = dict(answers.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    assert heard == {rank: [False, False, False, True, True] for rank in range(2)}
