"""Where cases come from, what is prepared of them, and how they are split."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from chestseg.config.strict import Strict


def a_folder(path: str) -> str:
    """Refuse an address where a folder is needed."""
    if "://" in path:
        raise ValueError("an address, not a folder: give a folder that all nodes share")
    return path


class Source(Strict):
    """One set of images as its publisher laid it out; `reader` names the module in `chestseg.data` that knows the layout."""

    reader: Literal["siim", "image_folder"]
    path: str
    name: str | None = None
    """What the manifest calls this source; the folder's name when absent."""
    images: str = "images"
    """`image_folder`: sub-folder of the images (DICOM, PNG or JPEG)."""
    masks: str | None = "masks"
    """`image_folder`: sub-folder of the masks, same stem as their image; null when there is none."""
    without_mask: Literal["unlabelled", "negative"] = "unlabelled"
    """`image_folder`: what an image without a mask file means. Never guessed: absence of a mask is not absence of disease."""


class Data(Strict):
    """Sources, the prepared dataset made of them, and its split by patient."""

    sources: tuple[Source, ...] = Field(min_length=1)
    prepared: str
    """Folder of the prepared dataset: written by `prepare`, read by everything else."""
    sizes: tuple[int, ...] = (256, 512, 1024)
    """Square edge lengths in pixels kept in the prepared dataset, one copy each."""
    folds: int = Field(default=5, ge=2, le=100)
    test_share: float = Field(default=0.1, ge=0, lt=0.9)
    """Share of patients frozen as the test split before the folds are drawn."""
    folds_file: str | None = None
    """CSV with columns `case_id` and `fold`, used in place of drawn folds; cases it does not name are left out."""
    patients_file: str | None = None
    """CSV with columns `case_id` and `patient_id` that overrules the files' own PatientID."""
    seed: int = 0

    @property
    def split(self) -> dict[str, float]:
        """What decides the split, given the cases: a prepared dataset keeps it, and an experiment that says otherwise is refused."""
        return {"folds": self.folds, "test_share": self.test_share, "seed": self.seed}

    @field_validator("prepared")
    @classmethod
    def _a_folder(cls, prepared: str) -> str:
        return a_folder(prepared)

    @field_validator("sizes")
    @classmethod
    def _multiples_of_32(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [s for s in sizes if s <= 0 or s % 32]
        if wrong or not sizes:
            raise ValueError(f"{wrong or sizes}: sizes must be positive multiples of 32, the encoder halves them five times")
        return tuple(sorted(set(sizes)))

    @model_validator(mode="after")
    def _sources_have_distinct_names(self) -> Self:
        names = [s.name or s.path.rstrip("/").rsplit("/", 1)[-1] for s in self.sources]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}: give each its own `name`")
        return self
