"""Losses on logits, each a mean over the images of one micro-batch, and their weighted sum."""

from collections.abc import Callable

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


def dice_squared_loss(logits: torch.Tensor, target: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """One minus soft Dice with squares in the denominator, as Milletari et al. 2016 wrote it; arguments as of `dice_loss`."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + smooth) / (probability.square().sum() + target.square().sum() + smooth)


def tversky_loss(logits: torch.Tensor, target: torch.Tensor, beta: float, smooth: float = 1.0) -> torch.Tensor:
    """One minus the soft Tversky index (Salehi et al. 2017), over all voxels of the micro-batch.

    Args:
        logits: (B, 1, *spatial) float32.
        target: the same shape, 0 or 1.
        beta: cost of a missed voxel, 0..1; a false one costs `1 - beta`. At 0.5 this is Dice.
        smooth: as of `dice_loss`.
    """
    probability = logits.sigmoid()
    overlap = (probability * target).sum()
    false, missed = probability.sum() - overlap, target.sum() - overlap
    return 1 - (overlap + smooth) / (overlap + (1 - beta) * false + beta * missed + smooth)


def focal_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Binary focal loss with gamma 2 and no class weight (Lin et al. 2017)."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1 - torch.exp(-cross_entropy)) ** FOCAL_GAMMA * cross_entropy).mean()


MASK_LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, Loss], torch.Tensor]] = {
    "bce": lambda logits, target, _: F.binary_cross_entropy_with_logits(logits, target),
    "dice": lambda logits, target, _: dice_loss(logits, target),
    "dice_squared": lambda logits, target, _: dice_squared_loss(logits, target),
    "tversky": lambda logits, target, weights: tversky_loss(logits, target, weights.tversky_beta),
    "focal": lambda logits, target, _: focal_loss(logits, target),
}
TERMS = (*MASK_LOSSES, "empty")
"""Names of all loss terms, each a weight in `config.Loss`."""


def term_names(weights: Loss) -> list[str]:
    """Names of the terms whose weight is not 0, in the order of `loss_terms`."""
    return [name for name in TERMS if getattr(weights, name)]


def loss_terms(weights: Loss, logits: Logits, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """The terms whose weight is not 0, unweighted, by name.

    Under deep supervision a mask's term is the mean over the decoder's levels, each weighing half of the next finer one (Isensee
    et al. 2021); the target is brought to a level's size by taking the nearest voxel.

    Args:
        logits: a network's answer; computed with in float32.
        target: (B, 1, *spatial), 0 or 1.
    """
    target = target.float()
    levels = [(level.float(), _shrink(target, level)) for level in (logits.mask, *logits.coarse)]
    whole = sum(0.5**depth for depth in range(len(levels)))
    terms: dict[str, torch.Tensor] = {}
    for name in term_names(weights):
        if name == "empty":
            assert logits.disease is not None, "Experiment refuses loss.empty without a head"
            terms[name] = F.binary_cross_entropy_with_logits(logits.disease.float(), target.flatten(1).amax(1))
        else:
            parts = [MASK_LOSSES[name](answer, truth, weights) * (0.5**depth / whole) for depth, (answer, truth) in enumerate(levels)]
            terms[name] = torch.stack(parts).sum()
    return terms


def total_loss(weights: Loss, terms: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weighted sum of `loss_terms`, a scalar."""
    return torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()


def _shrink(target: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """The target at a level's size, (B, 1, *smaller)."""
    return target if target.shape == level.shape else F.interpolate(target, level.shape[2:], mode="nearest")
