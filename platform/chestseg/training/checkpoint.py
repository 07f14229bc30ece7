"""A checkpoint: everything a run needs to go on at any step as if it had never stopped.

Model and optimiser are safetensors, the rest is JSON; no pickle. Random draws need no state of their own: each is seeded by its
position (stage, epoch, step, place), and the position is here. The learning-rate curve is a function of the step for the same
reason. SWA's snapshots lie beside the checkpoints, one file an epoch, and are named by (stage, epoch).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from chestseg.storage.working_copy import STATE

FORMAT = 1


@dataclass
class Position:
    """Where a run stands: the next step to take."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    """Within the epoch."""
    steps_done: int = 0
    """Over all stages."""


@dataclass
class Progress:
    """What a run remembers besides tensors."""

    position: Position = field(default_factory=Position)
    totals: list[float] = field(default_factory=list)
    """Sums of the running epoch's losses, by term."""
    best_dice: float | None = None
    best_epoch: int | None = None
    """Of the running stage."""
    stopped: bool = False
    """The running stage stopped early; only its averaging is left."""


@dataclass
class Checkpoint:
    """Tensors and progress of a run at one step."""

    model: dict[str, torch.Tensor]
    optimiser: dict[str, torch.Tensor]
    progress: Progress
    digest: str
    """Of the experiment and the dataset that made it."""

    def save(self, folder: Path) -> None:
        """Write into an existing empty folder, `STATE` last; whoever calls makes the folder appear whole."""
        save_file({k: v.detach().cpu().contiguous() for k, v in self.model.items()}, folder / "model.safetensors")
        save_file({k: v.detach().cpu().contiguous() for k, v in self.optimiser.items()}, folder / "optimiser.safetensors")
        state = {"format": FORMAT, "digest": self.digest, "progress": asdict(self.progress)}
        (folder / STATE).write_text(json.dumps(state, indent=1))


def load_checkpoint(folder: Path, digest: str) -> Checkpoint:
    """Read a checkpoint back.

    Raises:
        ValueError: it belongs to another experiment or dataset, or was written by another format.
    """
    state = json.loads((folder / STATE).read_text())
    if state["format"] != FORMAT:
        raise ValueError(f"{folder}: checkpoint of format {state['format']}, this version reads {FORMAT}: give this run another name")
    if state["digest"] != digest:
        raise ValueError(
            f"{folder}: checkpoint of another experiment or dataset ({state['digest']}, now {digest}): give this run another name"
        )
    told = dict(state["progress"])
    progress = Progress(position=Position(**told.pop("position")), **told)
    return Checkpoint(load_file(folder / "model.safetensors"), load_file(folder / "optimiser.safetensors"), progress, digest)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as named tensors: `PARAMETER.KEY`, parameters counted over all groups."""
    state: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
    entries = ((f"{number}.{key}", value) for number, values in state.items() for key, value in values.items())
    return {name: torch.as_tensor(value) for name, value in entries if value is not None}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put `optimiser_tensors` back into a freshly built optimiser of the same parameters."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        own = parameters[int(number)]
        if value.shape == own.shape:
            # Fused kernels walk memory in the parameter's order, so a moment must have its strides, not the file's.
            value = torch.empty_like(own).copy_(value)
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
