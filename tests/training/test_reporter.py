"""Which checkpoint a run goes on from, on storage where a kill leaves half of one."""

from pathlib import Path

import torch

from chestseg.training.checkpoint import Checkpoint, Position, Progress
from chestseg.training.reporter import FolderReporter, Report


def checkpoint(step: int) -> Checkpoint:
    tensors = {"weight": torch.full((2,), float(step))}
    return Checkpoint(tensors, {}, Progress(Position(step=step, steps_done=step)), "digest")


def report(reporter: FolderReporter, step: int) -> None:
    reporter.report(Report(0, None, step, {}), checkpoint(step))


def test_a_part_of_a_checkpoint_is_passed_over_and_gone_with_the_next(tmp_path: Path) -> None:
    """As a mounted bucket leaves it, whose rename of a folder is a copy of each file."""
    reporter = FolderReporter(tmp_path)
    report(reporter, 10)
    parts = [tmp_path / f"step-{step:09d}-stage0" for step in (20, 30)]
    for part in parts:
        part.mkdir()
        (part / "model.safetensors").write_bytes(b"half")
    found = reporter.resume("digest")
    assert found and found.progress.position.steps_done == 10
    report(reporter, 15)
    found = reporter.resume("digest")
    assert found and found.progress.position.steps_done == 15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000010-stage0", "step-000000015-stage0"]


def test_the_file_that_makes_a_checkpoint_count_is_written_last(tmp_path: Path) -> None:
    checkpoint(1).save(tmp_path)
    files = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 3 and files[-1].name == "state.json"


def test_without_a_whole_checkpoint_a_run_starts_at_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "step-000000001-stage0").mkdir()
    assert FolderReporter(tmp_path).resume("digest") is None
