"""Dice on held-out cases while training: at the stage's resolution, threshold 0.5, no test-time augmentation."""

from typing import Any

import numpy as np
import torch

from chestseg.config import RadiographStage, VolumeStage
from chestseg.inference.sliding_window import slide
from chestseg.training.engine import Engine

VOLUME_OVERLAP = 0.0
"""Patches side by side: this number watches a training, the evaluation afterwards slides with the overlap that will be used."""


def validate(engine: Engine, arrays: Any, indices: np.ndarray) -> dict[str, float]:
    """Score the network as it is; workers share the cases and all get the same answer.

    Args:
        engine: of the stage.
        arrays: what its cases come from, as of `training.stage.Cases`.
        indices: the held-out cases.

    Returns:
        `val_dice` (the challenge's mean: 1 where truth and prediction are both empty, 0 where one is), `val_dice_positives` and
        `val_negatives_empty`, the latter two only where there are such cases.
    """
    engine.network.eval()
    sums = torch.zeros(len(indices), 3, dtype=torch.float64, device=engine.group.device)
    own = range(engine.group.rank, len(indices), engine.group.size)
    overlaps, width = (_of_volumes, 1) if isinstance(engine.stage, VolumeStage) else (_of_radiographs, engine.stage.images_per_micro_batch)
    with torch.inference_mode():
        for start in range(0, len(own), width):
            places = list(own[start : start + width])
            sums[places] = overlaps(engine, arrays, [int(indices[p]) for p in places])
    engine.freeze()
    return _summary(engine.group.sum_(sums).cpu().numpy())


def _of_radiographs(engine: Engine, arrays: Any, cases: list[int]) -> torch.Tensor:
    """(cases, 3): pixels in both, in the prediction, in the truth."""
    stage = engine.stage
    assert isinstance(stage, RadiographStage)
    images = torch.from_numpy(np.stack([arrays.image(c, stage.size) for c in cases])[:, None])
    truth = torch.from_numpy(np.stack([arrays.mask(c, stage.size) for c in cases])[:, None]).to(engine.group.device).bool()
    return _overlaps(engine.logits(images).mask > 0, truth)


def _of_volumes(engine: Engine, arrays: Any, cases: list[int]) -> torch.Tensor:
    """(cases, 3): as of radiographs, in voxels of the stage's spacing."""
    stage = engine.stage
    assert isinstance(stage, VolumeStage)

    def answer(patches: torch.Tensor) -> torch.Tensor:
        return engine.logits(patches).mask.float().sigmoid()

    rows = []
    for case in cases:
        image, truth = arrays.image(case, stage.spacing), arrays.mask(case, stage.spacing)
        found = slide(image, stage.patch, VOLUME_OVERLAP, answer, batch=stage.images_per_micro_batch)
        rows.append(_overlaps(torch.from_numpy(found > 0.5)[None], torch.from_numpy(np.array(truth, bool))[None]))
    return torch.cat(rows).to(engine.group.device)


def _overlaps(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return torch.stack([m.flatten(1).sum(1, dtype=torch.float64) for m in (predicted & truth, predicted, truth)], 1)


def _summary(sums: np.ndarray) -> dict[str, float]:
    both, predicted, truth = sums.T
    area = predicted + truth
    dice = np.where(area > 0, 2 * both / np.maximum(area, 1), 1.0)
    metrics = {"val_dice": float(dice.mean())}
    if (truth > 0).any():
        metrics["val_dice_positives"] = float(dice[truth > 0].mean())
    if (truth == 0).any():
        metrics["val_negatives_empty"] = float((predicted[truth == 0] == 0).mean())
    return metrics
