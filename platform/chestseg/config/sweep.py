"""A sweep: a base experiment, the space its trials are drawn from, and by which rules they are drawn, stopped and compared."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from chestseg.config.data import a_folder
from chestseg.config.experiment import Experiment
from chestseg.config.fit import check_fit
from chestseg.config.load import load_experiment, parse, read_tree
from chestseg.config.space import Space
from chestseg.config.strict import Strict
from chestseg.config.windows import Windows

Metric = Literal["val_dice", "val_dice_positives", "val_negatives_empty"]


class Budget(Strict):
    """Compute of a trial that is not stopped, whatever its schedule."""

    unit: Literal["flops", "seconds"] = "flops"
    """`flops`: estimated from the network. `seconds`: measured on one worker before the first trial."""
    per_trial: float = Field(gt=0)


class Asha(Strict):
    """Asynchronous successive halving (Li et al. 2020): at each rung only the best go on."""

    reduction: int = Field(default=3, ge=2)
    """One of so many goes on."""
    rungs: tuple[float, ...] = Field(default=(0.11, 0.33), min_length=1)
    """Shares of a trial's compute at which trials are compared, ascending."""

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if list(rungs) != sorted(set(rungs)) or not all(0 < share < 1 for share in rungs):
            raise ValueError(f"{list(rungs)}: rungs are shares of the budget between 0 and 1, ascending")
        return rungs


class Sweep(Strict):
    """Everything one sweep's YAML says."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    base: str
    """YAML of the experiment that trials are variations of; relative to the sweep's own file."""
    set: tuple[str, ...] = ()
    """`key.path=value` overrides of the base."""
    seed: int = Field(default=0, ge=0)
    """Of the draws. What a trial draws while it trains has the base's seed, the same in all of them."""
    trials: int = Field(ge=1)
    budget: Budget
    space: Space
    sampler: Literal["tpe", "random", "cmaes"] = "tpe"
    pruner: Asha | None = Asha()
    metric: Metric = "val_dice_positives"
    second: Literal["latency", "flops"] | None = None
    """A second objective, of the served model, to be low: a Pareto front then is the result, and no trial is stopped early. Of volumes both
    are of one that has the same size in millimetres at all spacings."""
    windows: Windows | None = None
    """Compare windows of weight averaging in each trial; null keeps the averaging of the base's last stage."""
    validations: int | None = Field(default=18, ge=1)
    """How often a trial is validated, evenly over its compute and at each stage's end, so that different schedules come to a rung alike;
    null keeps the base's `validate_every`."""
    at_once: int | None = Field(default=None, ge=1)
    """Trials that run side by side; a cluster that may grow is asked for so many. As many as it holds at the start, and at least one, when
    null."""
    storage: str = "runs/sweeps"
    """Folder, shared by all nodes, or URI, in which the sweep's own folder lies."""
    optuna: str = Field(default_factory=lambda told: f"sqlite:///{told.get('storage')}/{told.get('name')}/optuna.db")
    """Optuna's storage; SQLite in the sweep's folder, or in the driver's copy of it, when left out."""
    retrain: Literal["all"] | None = None
    """Train the best configuration on all folds afterwards."""

    @field_validator("storage")
    @classmethod
    def _a_folder(cls, storage: str) -> str:
        return a_folder(storage).rstrip("/")

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.second and self.pruner:
            raise ValueError(f"second: {self.second} is known of a whole trial only, so none can be stopped early: set pruner: null")
        if self.sampler == "cmaes" and self.second:
            raise ValueError("sampler cmaes knows one objective: use tpe or random, or leave second out")
        if self.sampler == "cmaes" and not self.space.fixed_numeric:
            raise ValueError(
                "sampler cmaes needs the same numbers in every trial: use tpe or random, or fix stages and give ranges instead of lists"
            )
        return self

    @property
    def folder(self) -> str:
        """Where the sweep keeps its journal, its trials and its result."""
        return f"{self.storage}/{self.name}"

    @cached_property
    def experiment(self) -> Experiment:
        """The base, with the overrides.

        Raises:
            ValueError: as of `load_experiment`.
        """
        return load_experiment(self.base, self.set)

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with whatever shapes trials or decisions; more trials may be asked for later."""
        unshaping = {"base", "set", "trials", "at_once", "storage", "optuna", "retrain"}
        shaping: dict[str, Any] = {"sweep": self.model_dump(mode="json", exclude=unshaping), "base": self.experiment.digest}
        shaping["compare_at"] = self.experiment.training.compare_at
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep from YAML, and see that its base can be read too and that the space fits it.

    Args:
        path: the YAML file.
        overrides: as of `load_experiment`; those of the base are given as `set=[...]`.

    Raises:
        ValueError: one line that names the file, the key and the remedy.
    """
    tree = read_tree(path, overrides, "a sweep")
    if isinstance(tree.get("base"), str):
        tree["base"] = str(Path(path).parent / tree["base"])
    sweep = parse(Sweep, tree, where=str(path))
    check_fit(sweep.space, sweep.windows, sweep.experiment, where=str(path))
    return sweep
