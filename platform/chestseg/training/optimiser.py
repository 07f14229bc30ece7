"""Optimisers, and learning rates as pure functions of the step."""

import math

import torch

from chestseg.config import Optimiser, Stage
from chestseg.models.segmenter import Segmenter

ONE_CYCLE_RISE = 0.25
ONE_CYCLE_START = 1 / 25


def build_optimiser(network: Segmenter, config: Optimiser) -> torch.optim.Optimizer:
    """AdamW or SGD over what is not frozen; encoder and rest have rates of their own, one-dimensional tensors no weight decay."""
    encoder = {id(p) for p in network.encoder.parameters()}
    groups = []
    for in_encoder, factor in ((True, config.encoder_lr), (False, 1.0)):
        for decays in (True, False):
            parameters = [
                p for p in network.parameters() if p.requires_grad and (id(p) in encoder) is in_encoder and (p.dim() > 1) is decays
            ]
            if parameters:
                groups.append({"params": parameters, "factor": factor, "weight_decay": config.weight_decay if decays else 0.0})
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, config.second_beta), fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group `rate` times its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def learning_rate(stage: Stage, step: int, steps_per_epoch: int) -> float:
    """The rate before factors at a step of a stage, counted from 0.

    Inside the tail that SWA gives a rate of its own it is constant, and the curve before ends where the tail starts.
    """
    config, total = stage.optimiser, stage.epochs * steps_per_epoch
    if stage.swa and stage.swa.lr:
        tail = (stage.epochs - stage.swa.constant) * steps_per_epoch
        if step >= tail:
            return stage.swa.lr
        total = tail
    done = step / max(1, total - 1)
    if config.curve == "one_cycle":
        if done < ONE_CYCLE_RISE:
            return _cosine(config.lr * ONE_CYCLE_START, config.lr, done / ONE_CYCLE_RISE)
        return _cosine(config.lr, config.final_lr, (done - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    if config.curve == "constant":
        return config.lr
    return _cosine(config.lr, config.final_lr, (step - warmup) / max(1, total - 1 - warmup))


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, done))) / 2
