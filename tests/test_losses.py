"""Losses agree with their definitions and with segmentation-models-pytorch's."""

import pytest
import segmentation_models_pytorch as smp
import torch

from chestseg.config import Loss
from chestseg.losses import dice_loss, focal_loss, loss_terms, total_loss
from chestseg.models.logits import Logits


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(3, 1, 16, 16) * 2, (torch.rand(3, 1, 16, 16) < 0.3).float()


def test_dice_is_the_library_s(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    theirs = smp.losses.DiceLoss("binary", smooth=0.0)
    torch.testing.assert_close(dice_loss(*pair, smooth=0), theirs(*pair))


def test_focal_is_the_library_s(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    theirs = smp.losses.FocalLoss("binary", gamma=2.0)
    torch.testing.assert_close(focal_loss(*pair), theirs(*pair))


def test_dice_of_nothing_predicted_as_nothing_is_no_loss() -> None:
    assert dice_loss(torch.full((1, 1, 8, 8), -50.0), torch.zeros(1, 1, 8, 8)).item() == pytest.approx(0, abs=1e-6)


def test_terms_are_those_with_a_weight_and_the_total_is_their_weighted_sum(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weights = Loss(bce=3, dice=1, focal=4, empty=0.1)
    terms = loss_terms(weights, Logits(pair[0], torch.tensor([1.0, -1.0, 0.0])), pair[1])
    assert list(terms) == ["bce", "dice", "focal", "empty"]
    expected = 3 * terms["bce"] + terms["dice"] + 4 * terms["focal"] + 0.1 * terms["empty"]
    torch.testing.assert_close(total_loss(weights, terms), expected)
    assert list(loss_terms(Loss(bce=0), Logits(pair[0], None), pair[1])) == ["dice"]
