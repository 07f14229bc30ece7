"""Gradient checkpointing (Chen et al. 2016): parts of a network whose activations are computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(part: nn.Module, *inputs: Any) -> Any:
    """`part` of `inputs`, of which only the inputs are kept for the backward pass; the gradient is the same."""
    if torch.compiler.is_compiling():  # what a graph recomputes has no side effects, and it takes no contexts
        return checkpoint(part, *inputs, use_reentrant=False)
    return checkpoint(part, *inputs, use_reentrant=False, context_fn=partial(_contexts, part))


def _contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first computation of `part`, and around the second."""
    return nullcontext(), _statistics_kept(part)


@contextmanager
def _statistics_kept(part: nn.Module) -> Iterator[None]:
    """Batch norms inside compute what they computed before, and count and average the micro-batch no second time."""
    norms = [m for m in part.modules() if isinstance(m, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
