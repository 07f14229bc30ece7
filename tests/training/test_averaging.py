"""SWA windows and means of snapshots."""

from pathlib import Path

import pytest
import torch

from chestseg.config import Swa
from chestseg.training.averaging import Snapshots, window


@pytest.mark.parametrize(
    ("last", "stride", "end", "epochs"),
    [(5, 1, 9, [5, 6, 7, 8, 9]), (5, 2, 9, [5, 7, 9]), (4, 3, 9, [6, 9]), (5, 1, 2, [0, 1, 2]), (1, 1, 7, [7])],
)
def test_a_window_ends_with_the_last_epoch(last: int, stride: int, end: int, epochs: list[int]) -> None:
    assert window(Swa(last=last, stride=stride), end) == epochs


def test_the_average_is_the_mean_and_integers_come_from_the_last_epoch(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    weights = [torch.randn(4, 3) for _ in range(3)]
    for epoch, value in enumerate(weights):
        snapshots.save(1, epoch, {"w": value, "n": torch.tensor(epoch)})
    average = snapshots.average(1, [2, 0, 1])
    torch.testing.assert_close(average["w"], torch.stack(weights).mean(0))
    assert average["w"].dtype == torch.float32 and average["n"] == 2
