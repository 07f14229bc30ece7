"""Dice on held-out cases while training: at the stage's resolution or at one of all stages, threshold 0.5, no test-time augmentation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from chestseg.arrays.resample import resample_image
from chestseg.config import RadiographStage, Spacing, VolumeStage
from chestseg.inference.sliding_window import slide
from chestseg.training.engine import Engine

VOLUME_OVERLAP = 0.0
"""Patches side by side: this number watches a training, the evaluation afterwards slides with the overlap that will be used."""
METRICS = ("val_dice", "val_dice_positives", "val_negatives_empty")


def validate(engine: Engine, arrays: Any, indices: np.ndarray, compare_at: int | Spacing | None = None) -> dict[str, float]:
    """Score the network as it is; workers share the cases and all get the same answer.

    Args:
        engine: of the stage.
        arrays: what its cases come from, as of `training.stage.Cases`.
        indices: the held-out cases.
        compare_at: edge in pixels or spacing in mm at which masks are compared: probabilities are interpolated to it, as they are to a
            source's own grid in prediction. The stage's resolution when None.

    Returns:
        `val_dice` (the challenge's mean: 1 where truth and prediction are both empty, 0 where one is), `val_dice_positives` and
        `val_negatives_empty`, the latter two only where there are such cases.
    """
    return summary(overlaps(engine, arrays, indices, compare_at))


def overlaps(engine: Engine, arrays: Any, indices: np.ndarray, compare_at: int | Spacing | None = None) -> np.ndarray:
    """(cases, 3) float64: pixels or voxels in both masks, in the prediction, in the truth; arguments as for `validate`."""
    engine.network.eval()
    sums = torch.zeros(len(indices), 3, dtype=torch.float64, device=engine.group.device)
    with torch.inference_mode():
        for places in _shared(engine, len(indices)):
            cases = [int(indices[p]) for p in places]
            if isinstance(engine.stage, VolumeStage):
                assert not isinstance(compare_at, int), compare_at
                sums[places] = _of_volumes(engine, arrays, cases, compare_at or engine.stage.spacing)
            else:
                assert not isinstance(compare_at, tuple), compare_at
                sums[places] = _of_radiographs(engine, arrays, cases, compare_at)
    engine.freeze()
    return engine.group.sum_(sums).cpu().numpy()


def probabilities(engine: Engine, arrays: Any, cases: list[int]) -> list[torch.Tensor]:
    """Maps of a few cases at the stage's own resolution, float32 0..1; the caller sets evaluation mode."""
    stage = engine.stage
    with torch.inference_mode():
        if isinstance(stage, RadiographStage):
            return list(_logits(engine, arrays, cases, stage.size).sigmoid()[:, 0])
        return [torch.from_numpy(_slid(engine, arrays, case)) for case in cases]


def _shared(engine: Engine, cases: int) -> Iterator[list[int]]:
    """Places of this worker's cases, as many at a time as the network takes."""
    own = range(engine.group.rank, cases, engine.group.size)
    width = 1 if isinstance(engine.stage, VolumeStage) else engine.stage.images_per_micro_batch
    for start in range(0, len(own), width):
        yield list(own[start : start + width])


def _of_radiographs(engine: Engine, arrays: Any, cases: list[int], compare_at: int | None) -> torch.Tensor:
    """(cases, 3): pixels in both, in the prediction, in the truth."""
    stage = engine.stage
    assert isinstance(stage, RadiographStage)
    size = compare_at or stage.size
    logits = _logits(engine, arrays, cases, stage.size)
    predicted = logits > 0
    if size != stage.size:
        predicted = interpolate(logits.sigmoid(), size=(size, size), mode="bilinear", antialias=size < stage.size) > 0.5
    truth = torch.from_numpy(np.stack([arrays.mask(c, size) for c in cases])[:, None]).to(engine.group.device).bool()
    return _overlaps(predicted, truth)


def _logits(engine: Engine, arrays: Any, cases: list[int], size: int) -> torch.Tensor:
    """(cases, 1, size, size) float32."""
    return engine.logits(torch.from_numpy(np.stack([arrays.image(c, size) for c in cases])[:, None])).mask.float()


def _of_volumes(engine: Engine, arrays: Any, cases: list[int], spacing: Spacing) -> torch.Tensor:
    """(cases, 3): as of radiographs, in voxels of `spacing`."""
    rows = []
    for case in cases:
        truth = arrays.mask(case, spacing)
        found = resample_image(_slid(engine, arrays, case), truth.shape)
        rows.append(_overlaps(torch.from_numpy(found > 0.5)[None], torch.from_numpy(np.array(truth, bool))[None]))
    return torch.cat(rows).to(engine.group.device)


def _slid(engine: Engine, arrays: Any, case: int) -> np.ndarray:
    """Probabilities (D, H, W) float32 of a whole volume at the stage's spacing."""
    stage = engine.stage
    assert isinstance(stage, VolumeStage)

    def answer(patches: torch.Tensor) -> torch.Tensor:
        return engine.logits(patches).mask.float().sigmoid()

    return slide(arrays.image(case, stage.spacing), stage.patch, VOLUME_OVERLAP, answer, batch=stage.images_per_micro_batch)


def _overlaps(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return torch.stack([m.flatten(1).sum(1, dtype=torch.float64) for m in (predicted & truth, predicted, truth)], 1)


def summary(sums: np.ndarray) -> dict[str, float]:
    """Metrics of `overlaps`, as `validate` returns them."""
    both, predicted, truth = sums.T
    area = predicted + truth
    dice = np.where(area > 0, 2 * both / np.maximum(area, 1), 1.0)
    metrics = {"val_dice": float(dice.mean())}
    if (truth > 0).any():
        metrics["val_dice_positives"] = float(dice[truth > 0].mean())
    if (truth == 0).any():
        metrics["val_negatives_empty"] = float((predicted[truth == 0] == 0).mean())
    return metrics
