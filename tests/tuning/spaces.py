"""Small sweeps of both tracks over cases in memory, and a source of draws."""

import random
from collections.abc import Sequence
from typing import Any

from chestseg.config import Experiment, Sweep, parse
from tests.training.arrays_in_memory import ArraysInMemory, small_experiment
from tests.training.volumes_in_memory import COARSE, FINE, VolumesInMemory


class Dice:
    """Draws as an `optuna.Trial` does, and keeps what it was asked for."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.asked: dict[str, tuple[Any, ...]] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._keep(name, tuple(choices), self.random.choice(choices))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return self._keep(name, (low, high, log), self.random.choice([low, high, self.random.uniform(low, high)]))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self._keep(name, (low, high, step), self.random.randrange(low, high + 1, step))

    def _keep(self, name: str, domain: tuple[Any, ...], value: Any) -> Any:
        assert name not in self.asked, f"{name} is drawn twice"
        self.asked[name] = domain
        return value


def small_base() -> Experiment:
    """Two stages, of 32 and 64 pixels, without early stopping."""
    stages = [
        {"size": 32, "epochs": 2, "batch": 4, "micro_batch": 2, "positives": [0.75, 0.5], "optimiser": {"final_lr": 1e-4}},
        {
            "size": 64, "epochs": 3, "batch": 4, "micro_batch": 2, "optimiser": {"clip": 1.0, "final_lr": 1e-4},
            "loss": {"focal": 1.0, "empty": 0.5}, "swa": {"last": 2, "lr": 0.0005, "batch_norm_batches": 4},
        },
    ]  # fmt: skip
    return small_experiment(stages=stages, data={"sources": [{"reader": "siim", "path": "x"}], "prepared": "x", "sizes": [128], "folds": 3})


def small_sweep(**changes: Any) -> Sweep:
    """One to three stages of 32 to 128 pixels, all that can be drawn drawn."""
    space = {
        "stages": {"low": 1, "high": 3},
        "sizes": {"low": 32, "high": 128, "step": 32},
        "share": {"low": 0.1, "high": 0.9},
        "batch": [4, 8],
        "lr": {"low": 3e-4, "high": 1e-2, "log": True},
        "loss": {"dice": {"low": 0.5, "high": 2}, "focal": [0, 1]},
        "positives": {"low": 0.25, "high": 0.75},
        "augmentation": {"low": 0, "high": 2},
        "encoder": {"mobilenet_v2": "none", "resnet18": "none"},
        "tail_lr": {"low": 1e-4, "high": 1e-3},
    }
    tree = {
        "name": "small-sweep", "base": "unused.yaml", "trials": 4, "budget": {"per_trial": 1e12}, "space": space, "windows": {"tail": 6},
    }  # fmt: skip
    return parse(Sweep, {**tree, **changes}, "test")


def varied(sweep: Sweep, **space: Any) -> Sweep:
    """The sweep with another space."""
    return parse(Sweep, {**sweep.model_dump(), "space": {**sweep.space.model_dump(), **space}}, "test")


def small_ct_sweep(**changes: Any) -> Sweep:
    """One stage or two on volumes."""
    spacings = [{"spacing": FINE, "patch": [4, 64, 64]}, {"spacing": COARSE, "patch": [2, 32, 32]}]
    space = {"stages": {"low": 1, "high": 2}, "spacings": spacings, "batch": [2, 4], "positives": {"low": 0.5, "high": 1}}
    tree = {"name": "small-ct-sweep", "base": "unused.yaml", "trials": 4, "budget": {"per_trial": 1e11}, "space": space}
    return parse(Sweep, {**tree, **changes}, "test")


def radiographs() -> ArraysInMemory:
    """Twelve of them, 128 pixels wide."""
    arrays = ArraysInMemory(size=128)
    arrays.sizes = (128,)  # type: ignore[assignment]
    return arrays


def volumes() -> VolumesInMemory:
    """Six of them."""
    return VolumesInMemory()
