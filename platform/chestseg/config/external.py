"""Datasets a finished model is evaluated on, and what others have published on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from chestseg.config.experiment import Tracking
from chestseg.config.load import parse, read_tree
from chestseg.config.location import a_folder, inside
from chestseg.config.strict import Strict

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class ExternalData(Strict):
    """A prepared dataset."""

    name: Name
    prepared: str
    """Folder or URI that `prepare` wrote, at the model's size or spacing and window."""
    split: Literal["all", "test"] = "all"
    """Its cases: all, or, of the dataset that the model learned from, the test split."""

    @field_validator("prepared")
    @classmethod
    def _a_folder(cls, prepared: str) -> str:
        return a_folder(prepared)


class Published(Strict):
    """A row of somebody's table."""

    method: str
    source: str
    """Where it says so."""
    values: dict[Name, Share]
    """By dataset, of the metric."""


class External(Strict):
    """One model on several datasets."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    model: str
    """A bundle's folder or URI, or an MLflow URI."""
    datasets: tuple[ExternalData, ...] = Field(min_length=1)
    metric: Literal["mean_dice", "dice_positives"] = "mean_dice"
    """That is set beside what others have published."""
    published: tuple[Published, ...] = ()
    tracking: Tracking = Tracking()
    storage: str = "runs"
    """Folder or URI in which the result's folder lies."""

    @field_validator("storage")
    @classmethod
    def _a_folder(cls, storage: str) -> str:
        return a_folder(storage)

    @property
    def folder(self) -> str:
        """Of the result, or its URI."""
        return inside(self.storage, self.name)


def load_external(path: str | Path, overrides: Sequence[str] = ()) -> External:
    """Read the list from YAML.

    Raises:
        ValueError: one line that names the file, the key and the remedy.
    """
    return parse(External, read_tree(path, overrides, "a list of datasets"), where=str(path))
