"""SWA windows, means of snapshots, and snapshots that hold what changed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from chestseg.config import Swa
from chestseg.training.averaging import Snapshots, kept, window


@pytest.mark.parametrize(
    ("last", "stride", "skip", "end", "epochs"),
    [
        (5, 1, 0, 9, [5, 6, 7, 8, 9]), (5, 2, 0, 9, [5, 7, 9]), (4, 3, 0, 9, [6, 9]), (5, 1, 0, 2, [0, 1, 2]), (1, 1, 0, 7, [7]),
        (3, 1, 2, 9, [5, 6, 7]), (4, 2, 1, 9, [6, 8]), (3, 1, 5, 2, [0]),
    ],
)  # fmt: skip
def test_a_window_ends_so_many_epochs_before_the_last(last: int, stride: int, skip: int, end: int, epochs: list[int]) -> None:
    assert window(Swa(last=last, stride=stride, skip=skip), end) == epochs


def test_the_window_and_a_stated_tail_are_kept() -> None:
    assert kept(Swa(last=3, stride=2), 9) == {7, 9}
    assert kept(Swa(last=6, stride=5, tail=3), 9) == {4, 7, 8, 9}


def test_the_average_is_the_mean_and_integers_come_from_the_last_epoch(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    weights = [torch.randn(4, 3) for _ in range(3)]
    for epoch, value in enumerate(weights):
        snapshots.save(1, epoch, {"w": value, "n": torch.tensor(epoch)})
    average = snapshots.average(1, [2, 0, 1])
    torch.testing.assert_close(average["w"], torch.stack(weights).mean(0))
    assert average["w"].dtype == torch.float32 and average["n"] == 2


def test_the_epochs_that_are_kept_of_a_stage(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    for stage, epoch in ((0, 3), (1, 12), (1, 2)):
        snapshots.save(stage, epoch, {"w": torch.zeros(1)})
    assert (snapshots.epochs(0), snapshots.epochs(1), snapshots.epochs(2)) == ([3], [2, 12], [])


def frozen_and_moving(snapshots: Snapshots) -> list[dict[str, torch.Tensor]]:
    """Four epochs: one tensor stays, one moves, one stays for two epochs and moves once."""
    still = torch.randn(100, 100)
    epochs = [{"still": still, "moves": torch.randn(5), "once": torch.full((3,), float(e > 1)), "n": torch.tensor(e)} for e in range(4)]
    for epoch, tensors in enumerate(epochs):
        snapshots.save(0, epoch, tensors)
    return epochs


def test_what_did_not_change_is_stored_once(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    epochs = frozen_and_moving(snapshots)
    assert [set(load_file(snapshots.path(0, e))) for e in range(4)] == [
        {"still", "moves", "once", "n"}, {"moves", "n"}, {"moves", "once", "n"}, {"moves", "n"},
    ]  # fmt: skip
    for epoch, tensors in enumerate(epochs):
        again = snapshots.load(0, epoch)
        assert again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in tensors)
    average = snapshots.average(0, [1, 2, 3])
    assert torch.equal(average["still"], epochs[0]["still"])
    torch.testing.assert_close(average["once"], torch.full((3,), 2 / 3))


def test_an_epoch_written_again_has_the_same_bytes(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    epochs = frozen_and_moving(snapshots)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for epoch in (1, 2, 3):
        Snapshots(tmp_path).save(0, epoch, epochs[epoch])
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    frozen_and_moving(snapshots)
    first = snapshots.path(0, 0)
    kept_bytes = first.read_bytes()
    first.unlink()
    with pytest.raises(ValueError, match=r"stage0-epoch0000.safetensors: this epoch's weights are missing.*put the file back"):
        snapshots.load(0, 3)
    first.write_bytes(kept_bytes[:40])
    with pytest.raises(ValueError, match=r"stage0-epoch0000.safetensors: damaged"):
        snapshots.average(0, [2, 3])


def test_files_that_hold_every_tensor_and_say_nothing_are_read(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    for epoch in range(2):
        save_file({"w": torch.full((2,), float(epoch))}, snapshots.path(0, epoch))
    assert snapshots.average(0, [0, 1])["w"].tolist() == [0.5, 0.5]
