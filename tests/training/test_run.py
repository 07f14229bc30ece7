"""A run is reproducible, resumable at every step, and the same for one worker and two."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from chestseg.training.checkpoint import Checkpoint
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter, Report
from chestseg.training.run import train
from tests.training.arrays_in_memory import ArraysInMemory, small_experiment
from tests.training.volumes_in_memory import COARSE, VolumesInMemory, small_ct_experiment

TRACKS: dict[str, tuple[Any, Any]] = {"cxr": (small_experiment, ArraysInMemory), "ct": (small_ct_experiment, VolumesInMemory)}
"""An experiment and what it is trained on."""


class Killed(BaseException):
    """Stands for the process's death."""


class KilledReporter(FolderReporter):
    """Dies at the n-th report, right after it was taken."""

    def __init__(self, folder: Path, reports_left: int) -> None:
        super().__init__(folder)
        self.left = reports_left

    def report(self, report: Report, checkpoint: Checkpoint | None) -> None:
        super().report(report, checkpoint)
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture(autouse=True)
def one_thread():
    """Bit-identity is promised for a stated number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_through(folder: Path, track: str = "cxr") -> tuple[dict[str, torch.Tensor], list[Report]]:
    experiment, arrays = TRACKS[track]
    reporter = FolderReporter(folder / "checkpoints")
    final = train(experiment(), arrays(), Group(), reporter, folder)
    return load_file(final), reporter.reports


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of a folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("track", TRACKS)
def test_killed_at_every_report_and_resumed_ends_with_the_same_bits(track: str, tmp_path: Path) -> None:
    experiment, arrays = TRACKS[track]
    undisturbed, reports = run_through(tmp_path / "whole", track)
    folder = tmp_path / "killed"
    seen: dict[tuple[int, int | None, int], dict[str, float]] = {}
    kills = 0
    while True:
        reporter = KilledReporter(folder / "checkpoints", reports_left=2)
        try:
            final = train(experiment(), arrays(), Group(), reporter, folder)
        except Killed:
            kills += 1
            assert kills < 100, "no progress between kills"
            continue
        finally:
            seen |= {(r.stage, r.epoch, r.step): r.metrics for r in reporter.reports if r.metrics}
        break
    assert kills >= 5
    assert same(load_file(final), undisturbed)
    assert contents(folder / "snapshots") == contents(tmp_path / "whole" / "snapshots")
    timing = ("images_per_second", "data_wait")
    for report in reports:
        if report.metrics:
            told = seen[(report.stage, report.epoch, report.step)]
            assert {k: v for k, v in told.items() if k not in timing} == {k: v for k, v in report.metrics.items() if k not in timing}


def test_the_3d_u_net_of_a_video_encoder_is_resumed_too(tmp_path: Path) -> None:
    """With recomputing, coarser answers and an average. Its checkpoints are large: two epochs of two steps, killed after the third."""
    experiment = small_ct_experiment(
        model={
            "architecture": "unet3d", "encoder": "mc3_18", "weights": "none", "decoder_channels": [8, 8, 8, 4, 4],
            "depth_strides": [1, 1, 1], "deep_supervision": True,
        },
        stages=[
            {
                "spacing": COARSE, "patch": [2, 16, 16], "epochs": 2, "batch": 2, "micro_batch": 1, "cases_per_epoch": 4,
                "validate_every": 2, "swa": {"last": 2, "batch_norm_batches": 2},
            },
        ],
        training={"precision": "fp32", "checkpoint_every": 1, "recompute": True},
    )  # fmt: skip
    whole = train(experiment, VolumesInMemory(), Group(), FolderReporter(tmp_path / "whole" / "checkpoints"), tmp_path / "whole")
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train(experiment, VolumesInMemory(), Group(), KilledReporter(folder / "checkpoints", reports_left=3), folder)
    final = load_file(train(experiment, VolumesInMemory(), Group(), FolderReporter(folder / "checkpoints"), folder))
    assert same(final, load_file(whole))
    assert any(name.startswith("coarse_heads.") for name in final) and all(value.isfinite().all() for value in final.values())


def _worker(rank: int, world: int, folder: str, track: str) -> None:
    experiment, arrays = TRACKS[track]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    reporter = FolderReporter(Path(folder) / "checkpoints")
    train(experiment(), arrays(), Group(rank, world), reporter, Path(folder))
    if rank == 0:
        np.save(Path(folder) / "losses.npy", [r.metrics["loss"] for r in reporter.reports if "loss" in r.metrics])
    dist.destroy_process_group()


@pytest.mark.parametrize("track", TRACKS)
def test_one_worker_and_two_give_the_same_curve(track: str, tmp_path: Path) -> None:
    _, reports = run_through(tmp_path / "one", track)
    folder = tmp_path / "two"
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(rank, 2, str(folder), track)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    alone = [r.metrics["loss"] for r in reports if "loss" in r.metrics]
    np.testing.assert_allclose(np.load(folder / "losses.npy"), alone, rtol=2e-4)


def test_a_checkpoint_of_another_experiment_is_refused(tmp_path: Path) -> None:
    run_through(tmp_path)
    reporter = FolderReporter(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="another experiment"):
        train(small_experiment(seed=4), ArraysInMemory(), Group(), reporter, tmp_path)  # type: ignore[arg-type]
