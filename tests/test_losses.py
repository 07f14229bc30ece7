"""Losses agree with their definitions and with segmentation-models-pytorch's."""

import pytest
import segmentation_models_pytorch as smp
import torch

from chestseg.config import Loss
from chestseg.losses import TERMS, dice_loss, dice_squared_loss, focal_loss, loss_terms, term_names, total_loss, tversky_loss
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


@pytest.mark.parametrize("beta", [0.3, 0.7])
def test_tversky_is_the_library_s_with_beta_on_missed_voxels(pair: tuple[torch.Tensor, torch.Tensor], beta: float) -> None:
    theirs = smp.losses.TverskyLoss("binary", alpha=1 - beta, beta=beta, smooth=0.0)
    torch.testing.assert_close(tversky_loss(*pair, beta=beta, smooth=0), theirs(*pair))


def test_tversky_at_one_half_is_dice(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.testing.assert_close(tversky_loss(*pair, beta=0.5, smooth=0), dice_loss(*pair, smooth=0))


def test_a_high_beta_makes_missing_cost_more_than_inventing() -> None:
    half = torch.tensor([[[[1.0, 0.0]]]])
    everything, nothing = torch.full((1, 1, 1, 2), 50.0), torch.full((1, 1, 1, 2), -50.0)
    assert tversky_loss(everything, half, beta=0.7, smooth=0).item() == pytest.approx(1 - 1 / 1.3)
    assert tversky_loss(nothing, half, beta=0.7, smooth=1).item() == pytest.approx(1 - 1 / 1.7)


def test_dice_squared_squares_the_denominator() -> None:
    logits = torch.tensor([0.5, 0.25, 0.9]).logit().reshape(1, 1, 3)
    target = torch.tensor([1.0, 0.0, 1.0]).reshape(1, 1, 3)
    expected = 1 - 2 * (0.5 + 0.9) / (0.5**2 + 0.25**2 + 0.9**2 + 2)
    assert dice_squared_loss(logits, target, smooth=0).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["dice", "dice_squared", "tversky"])
def test_nothing_predicted_as_nothing_is_no_loss(name: str) -> None:
    terms = loss_terms(only(name), Logits(torch.full((1, 1, 8, 8), -50.0), None), torch.zeros(1, 1, 8, 8))
    assert terms[name].item() == pytest.approx(0, abs=1e-6)


def only(name: str) -> Loss:
    return Loss(**{"bce": 0, "dice": 0, name: 1})


def test_every_weight_of_the_config_has_its_term() -> None:
    assert set(TERMS) == set(Loss.model_fields) - {"tversky_beta"}
    assert term_names(Loss(bce=0, tversky=1, empty=2)) == ["dice", "tversky", "empty"]


def test_the_config_s_beta_reaches_tversky(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weights = Loss(bce=0, dice=0, tversky=1, tversky_beta=0.9)
    torch.testing.assert_close(loss_terms(weights, Logits(pair[0], None), pair[1])["tversky"], tversky_loss(*pair, beta=0.9))


@pytest.mark.parametrize("name", ["bce", "dice", "dice_squared", "tversky", "focal"])
def test_coarser_levels_weigh_half_each_against_the_target_at_their_size(name: str) -> None:
    torch.manual_seed(0)
    target = (torch.rand(2, 1, 4, 6, 8) < 0.3).float()
    fine, half, quarter = (torch.randn(2, 1, *size) for size in ((4, 6, 8), (4, 3, 4), (2, 2, 2)))
    found = loss_terms(only(name), Logits(fine, None, (half, quarter)), target)[name]

    def alone(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return loss_terms(only(name), Logits(logits, None), truth)[name]

    nearest = target[:, :, ::2, ::3, ::4]
    expected = (4 * alone(fine, target) + 2 * alone(half, target[..., ::2, ::2]) + alone(quarter, nearest)) / 7
    torch.testing.assert_close(found, expected)


def test_terms_are_those_with_a_weight_and_the_total_is_their_weighted_sum(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weights = Loss(bce=3, dice=1, focal=4, empty=0.1)
    terms = loss_terms(weights, Logits(pair[0], torch.tensor([1.0, -1.0, 0.0])), pair[1])
    assert list(terms) == ["bce", "dice", "focal", "empty"]
    expected = 3 * terms["bce"] + terms["dice"] + 4 * terms["focal"] + 0.1 * terms["empty"]
    torch.testing.assert_close(total_loss(weights, terms), expected)
    assert list(loss_terms(Loss(bce=0), Logits(pair[0], None), pair[1])) == ["dice"]
