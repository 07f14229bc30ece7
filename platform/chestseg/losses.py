"""Losses on logits, each a mean over the images of one micro-batch, and their weighted sum."""

import torch
import torch.nn.functional as F

from chestseg.config import Loss
from chestseg.models.logits import Logits

FOCAL_GAMMA = 2.0


def dice_loss(logits: torch.Tensor, target: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """One minus soft Dice (Milletari et al. 2016, with plain sums), over all voxels of the micro-batch.

    Args:
        logits: (B, 1, *spatial) float32.
        target: the same shape, 0 or 1.
        smooth: added above and below, so that an empty micro-batch predicted empty costs nothing.
    """
    probability = logits.sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + smooth) / (probability.sum() + target.sum() + smooth)


def focal_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Binary focal loss with gamma 2 and no class weight (Lin et al. 2017)."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1 - torch.exp(-cross_entropy)) ** FOCAL_GAMMA * cross_entropy).mean()


def loss_terms(weights: Loss, logits: Logits, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """The terms whose weight is not 0, unweighted, by name.

    Args:
        logits: a network's answer; computed with in float32.
        target: (B, 1, *spatial), 0 or 1.
    """
    mask, target = logits.mask.float(), target.float()
    terms: dict[str, torch.Tensor] = {}
    if weights.bce:
        terms["bce"] = F.binary_cross_entropy_with_logits(mask, target)
    if weights.dice:
        terms["dice"] = dice_loss(mask, target)
    if weights.focal:
        terms["focal"] = focal_loss(mask, target)
    if weights.empty:
        assert logits.disease is not None, "Experiment refuses loss.empty without a head"
        terms["empty"] = F.binary_cross_entropy_with_logits(logits.disease.float(), target.flatten(1).amax(1))
    return terms


def total_loss(weights: Loss, terms: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weighted sum of `loss_terms`, a scalar."""
    return torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
