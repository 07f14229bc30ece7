"""An ablation: what each part of an experiment brings, trained and scored on the same held-out cases."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from chestseg.config.experiment import Experiment
from chestseg.config.load import load_experiment, parse, read_tree
from chestseg.config.strict import Strict

BASE = "base"
"""What the base's own training is called beside those of variations."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


class Variation(Strict):
    """Another training, beside the base's."""

    set: tuple[str, ...] = ()
    """Overrides of the base's keys, as with `--set`."""
    last_stage_only: bool = False
    """Train at the last stage's resolution from the start."""
    equal: Literal["compute", "time"] | None = None
    """With `last_stage_only`: as many epochs as the base's whole schedule pays for, in FLOPs or in measured seconds; null keeps its own."""
    starts_as: Literal["first", "last"] = "first"
    """With `last_stage_only`: whose optimiser and share of positives it has. It starts from the weights that the first stage starts from,
    and at the last stage's rates for fine-tuning it would learn less than it could."""


class Ablation(Strict):
    """A base experiment, trainings that differ from it, and what is switched off in the scoring of each."""

    name: Name
    base: str
    """YAML of the experiment, relative to this file."""
    set: tuple[str, ...] = ()
    """Overrides of the base."""
    folds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    """Held-out folds; every training is done once for each, and their cases are scored together."""
    variations: dict[Name, Variation] = Field(min_length=1)
    without: tuple[Literal["swa", "tta"], ...] = ("swa", "tta")
    """Switched off one at a time and together, in the scoring of each training; nothing is trained again for it."""
    reach: float | None = Field(default=None, gt=0, lt=1)
    """Validation Dice on positives that the time to is told of; the highest that all trainings of a fold reached when null."""
    storage: str | None = None
    """Folder of the trainings, each called after base, ablation and variation, and of the result; the base's when null."""

    @cached_property
    def experiment(self) -> Experiment:
        """The base, with the overrides.

        Raises:
            ValueError: as of `load_experiment`.
        """
        named = [] if self.storage is None else [f"storage={self.storage}"]
        return load_experiment(self.base, [*self.set, *named])

    @property
    def folder(self) -> str:
        """Of the result."""
        return f"{self.experiment.storage}/{self.name}"


def load_ablation(path: str | Path, overrides: Sequence[str] = ()) -> Ablation:
    """Read an ablation from YAML, and see that its base and its variations can be read, too.

    Raises:
        ValueError: one line that names the file, the key and the remedy.
    """
    tree = read_tree(path, overrides, "an ablation")
    if isinstance(tree.get("base"), str):
        tree["base"] = str(Path(path).parent / tree["base"])
    ablation = parse(Ablation, tree, where=str(path))
    base = ablation.experiment
    for fold in ablation.folds:
        if fold >= base.data.folds:
            raise ValueError(f"{path}: folds: {fold} is none of folds 0 to {base.data.folds - 1}")
    if BASE in ablation.variations:
        raise ValueError(f"{path}: variations.{BASE}: so the base itself is called: give the variation another name")
    for name, variation in ablation.variations.items():
        if variation.equal and not variation.last_stage_only:
            raise ValueError(f"{path}: variations.{name}.equal goes with last_stage_only: true")
        if "starts_as" in variation.model_fields_set and not variation.last_stage_only:
            raise ValueError(f"{path}: variations.{name}.starts_as goes with last_stage_only: true")
        load_experiment(ablation.base, [*ablation.set, *variation.set])
    return ablation
