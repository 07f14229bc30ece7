"""Dice on held-out cases while training: at the stage's size, threshold 0.5, no test-time augmentation."""

import numpy as np
import torch

from chestseg.data.loader import CaseArrays
from chestseg.training.engine import Engine


def validate(engine: Engine, arrays: CaseArrays, indices: np.ndarray) -> dict[str, float]:
    """Score the network as it is; workers share the cases and all get the same answer.

    Returns:
        `val_dice` (the challenge's mean: 1 where truth and prediction are both empty, 0 where one is), `val_dice_positives` and
        `val_negatives_empty`, the latter two only where there are such cases.
    """
    engine.network.eval()
    sums = torch.zeros(len(indices), 3, dtype=torch.float64, device=engine.group.device)
    own = range(engine.group.rank, len(indices), engine.group.size)
    width = engine.stage.images_per_micro_batch
    with torch.inference_mode():
        for start in range(0, len(own), width):
            places = list(own[start : start + width])
            sums[places] = _overlaps(engine, arrays, [int(indices[p]) for p in places])
    engine.freeze()
    return _summary(engine.group.sum_(sums).cpu().numpy())


def _overlaps(engine: Engine, arrays: CaseArrays, cases: list[int]) -> torch.Tensor:
    """(cases, 3): pixels in both, in the prediction, in the truth."""
    size = engine.stage.size
    images = torch.from_numpy(np.stack([arrays.image(c, size) for c in cases])[:, None])
    truth = torch.from_numpy(np.stack([arrays.mask(c, size) for c in cases])[:, None]).to(engine.group.device).bool()
    predicted = engine.logits(images).mask > 0
    return torch.stack([(m.flatten(1).sum(1, dtype=torch.float64)) for m in (predicted & truth, predicted, truth)], 1)


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
