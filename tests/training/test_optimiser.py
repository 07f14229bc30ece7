"""Learning-rate curves, parameter groups, and an optimiser's state that survives a checkpoint in any memory layout."""

import copy

import pytest
import torch

from chestseg.config import Optimiser, RadiographStage, UNet2DModel
from chestseg.models.registry import build_model
from chestseg.training.checkpoint import optimiser_tensors, restore_optimiser
from chestseg.training.optimiser import build_optimiser, learning_rate, set_rate

MODEL = UNet2DModel(encoder="mobilenet_v2", weights="none", decoder_channels=(16, 16, 8, 8, 4))


def rates(**stage: object) -> list[float]:
    config = RadiographStage.model_validate({"size": 32, "epochs": 10, **stage})
    return [learning_rate(config, step, 10) for step in range(100)]


def test_cosine_falls_from_peak_to_final_rate() -> None:
    curve = rates(optimiser={"lr": 1e-2, "final_lr": 1e-4})
    assert curve[0] == pytest.approx(1e-2) and curve[-1] == pytest.approx(1e-4)
    assert curve == sorted(curve, reverse=True)


def test_warmup_rises_first() -> None:
    curve = rates(optimiser={"lr": 1e-2, "warmup": 0.1})
    assert curve[:10] == sorted(curve[:10]) and max(curve) == pytest.approx(1e-2)


def test_one_cycle_rises_for_a_quarter() -> None:
    curve = rates(optimiser={"lr": 1e-2, "curve": "one_cycle"})
    assert curve[0] == pytest.approx(4e-4) and curve.index(max(curve)) in (24, 25)


def test_the_swa_window_has_a_constant_rate_and_the_curve_ends_before_it() -> None:
    curve = rates(optimiser={"lr": 1e-2, "final_lr": 1e-4}, swa={"last": 3, "lr": 5e-4})
    assert set(curve[70:]) == {5e-4} and curve[69] == pytest.approx(1e-4)


def test_the_tail_has_the_constant_rate_wherever_its_window_lies() -> None:
    windows = ({"last": 1}, {"last": 2, "skip": 2}, {"last": 5, "stride": 2})
    curves = [rates(optimiser={"lr": 1e-2, "final_lr": 1e-4}, swa={**window, "tail": 3, "lr": 5e-4}) for window in windows]
    assert set(curves[0][70:]) == {5e-4} and curves[0][69] == pytest.approx(1e-4)
    assert curves[0] == curves[1] == curves[2]
    assert set(rates(swa={"last": 2, "skip": 1, "lr": 5e-4})[70:]) == {5e-4}


@pytest.mark.parametrize(
    ("swa", "told"),
    [({"last": 9, "skip": 2}, r"swa.last 9 with swa.skip 2 is longer than the stage's 10 epochs"), ({"tail": 11}, "swa.tail 11 is longer")],
)
def test_a_window_or_tail_longer_than_the_stage_is_refused(swa: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rates(swa=swa)


def test_encoder_rate_and_weight_decay_by_group() -> None:
    network = build_model(MODEL)
    optimiser = build_optimiser(network, Optimiser(encoder_lr=0.1, weight_decay=0.01))
    set_rate(optimiser, 1.0)
    assert sorted((g["lr"], g["weight_decay"]) for g in optimiser.param_groups) == [(0.1, 0.0), (0.1, 0.01), (1.0, 0.0), (1.0, 0.01)]
    assert sum(len(g["params"]) for g in optimiser.param_groups) == len(list(network.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    network = build_model(MODEL)
    network.encoder.requires_grad_(False)
    optimiser = build_optimiser(network, Optimiser())
    assert {id(p) for g in optimiser.param_groups for p in g["params"]} == {id(p) for p in network.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_restored_state_takes_the_same_next_step_in_channels_last(name: str) -> None:
    network = build_model(MODEL).to(memory_format=torch.channels_last)
    optimiser = build_optimiser(network, Optimiser.model_validate({"name": name}))

    def step(net: torch.nn.Module, opt: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        for p in net.parameters():
            p.grad = torch.randn(p.shape).to(memory_format=torch.channels_last) if p.dim() == 4 else torch.randn(p.shape)
        opt.step()

    step(network, optimiser, 0)
    saved = {k: v.clone(memory_format=torch.contiguous_format) for k, v in optimiser_tensors(optimiser).items()}
    twin = copy.deepcopy(network)
    twin_optimiser = build_optimiser(twin, Optimiser.model_validate({"name": name}))
    restore_optimiser(twin_optimiser, saved)
    step(network, optimiser, 1)
    step(twin, twin_optimiser, 1)
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
