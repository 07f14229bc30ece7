"""The picture of a run is drawn whatever there is to draw."""

from pathlib import Path

import cv2
import pytest

from chestseg.tracking.curves import draw_curves
from chestseg.tracking.journal import Metric


@pytest.mark.parametrize("stages", [1, 3])
def test_a_column_for_each_stage(tmp_path: Path, stages: int) -> None:
    points = [Metric("a", key, 1 / (step + 1), step, 0) for key in ("loss", "val_dice", "images_per_second") for step in range(4)]
    draw_curves({f"stage {i + 1}": points for i in range(stages)}, tmp_path / "curves.png")
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None
    assert picture.shape == (600, 100 * (1 + 4 * stages), 3)
    assert picture.std() > 5


def test_a_stage_without_points(tmp_path: Path) -> None:
    draw_curves({"stage 1": []}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()
