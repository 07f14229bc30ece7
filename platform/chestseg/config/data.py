"""Where cases come from, what is prepared of them, and how they are split."""

import math
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from chestseg.config.location import a_folder
from chestseg.config.stage import Spacing
from chestseg.config.strict import Strict

Reader = Literal["siim", "image_folder", "ricord", "covid_ct_seg", "mosmed", "nnunet", "nifti_folder"]
RADIOGRAPH_READERS = ("siim", "image_folder")


class Source(Strict):
    """One set of images as its publisher laid it out; `reader` names the module in `chestseg.data` that knows the layout."""

    reader: Reader
    path: str
    """A folder, or the URI of one in a bucket, of which each node that decodes keeps a copy."""
    name: str | None = None
    """What the manifest calls this source; the folder's name when absent."""
    images: str = "images"
    """`image_folder`, `nifti_folder`: sub-folder of the images (DICOM, PNG or JPEG; NIfTI)."""
    masks: str | None = "masks"
    """`image_folder`, `nifti_folder`: sub-folder of the masks, same stem as their image; null when there is none."""
    without_mask: Literal["unlabelled", "negative"] = "unlabelled"
    """What an image without a mask file means, where a reader meets such. Never guessed: no mask is not no disease."""
    labels: tuple[str | int, ...] | None = None
    """Volumes: labels that count as infiltrate, by name or number; the reader's own choice when null."""
    annotators: Literal["union", "majority"] = "union"
    """`ricord`: how several readers' outlines of one slice become one mask."""
    window: tuple[float, float] | None = None
    """Volumes whose values are not HU: the lowest and highest value, mapped to the ends of `data.window`; null takes values as HU."""

    @field_validator("window")
    @classmethod
    def _rising(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and window[0] >= window[1]:
            raise ValueError(f"{list(window)}: the lowest value comes first")
        return window


class Data(Strict):
    """Sources, the prepared dataset made of them, and its split by patient."""

    sources: tuple[Source, ...] = Field(min_length=1)
    prepared: str
    """Folder or URI of the prepared dataset: written by `prepare`, read by everything else."""
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

    @model_validator(mode="after")
    def _sources_have_distinct_names(self) -> Self:
        names = [s.name or s.path.rstrip("/").rsplit("/", 1)[-1] for s in self.sources]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}: give each its own `name`")
        return self

    @model_validator(mode="after")
    def _readers_of_one_kind(self) -> Self:
        allowed = self.readers()
        wrong = [s.reader for s in self.sources if s.reader not in allowed]
        if wrong:
            raise ValueError(f"reader {wrong[0]!r} is of the other track: give one of {', '.join(allowed)}, or change `track`")
        return self

    @classmethod
    def readers(cls) -> tuple[str, ...]:
        """Names of the readers this kind of data comes through."""
        return get_args(Reader)


class RadiographData(Data):
    """Radiographs, prepared as squares."""

    sizes: tuple[int, ...] = (256, 512, 1024)
    """Square edge lengths in pixels kept in the prepared dataset, one copy each."""

    @classmethod
    def readers(cls) -> tuple[str, ...]:
        """Readers of radiographs."""
        return RADIOGRAPH_READERS

    @field_validator("sizes")
    @classmethod
    def _multiples_of_32(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [s for s in sizes if s <= 0 or s % 32]
        if wrong or not sizes:
            raise ValueError(f"{wrong or sizes}: sizes must be positive multiples of 32, the encoder halves them five times")
        return tuple(sorted(set(sizes)))


class VolumeData(Data):
    """CT volumes, prepared as 8-bit arrays of a HU window at the schedule's spacings."""

    spacings: tuple[Spacing, ...] = Field(min_length=1)
    """Millimetres between slices, rows and columns; one copy of every volume each, the finest first."""
    window: tuple[float, float] = (-1000.0, 400.0)
    """Lowest and highest HU: what is below or above, padding included, is clipped. 256 grey levels lie between."""
    series: Literal["strict", "repair"] = "strict"
    """What to do with a DICOM series with gaps, duplicates or a tilted gantry: quarantine it, or resample it and say so.

    Outlines of `ricord` lie on slices as they were: where those must be resampled, as under a tilted gantry, `repair` quarantines too."""

    @classmethod
    def readers(cls) -> tuple[str, ...]:
        """Readers of volumes."""
        return tuple(name for name in get_args(Reader) if name not in RADIOGRAPH_READERS)

    @field_validator("spacings")
    @classmethod
    def _finest_first(cls, spacings: tuple[Spacing, ...]) -> tuple[Spacing, ...]:
        wrong = [s for s in spacings if min(s) <= 0]
        if wrong:
            raise ValueError(f"{list(wrong[0])}: millimetres between slices, rows and columns are positive")
        return tuple(sorted(set(spacings), key=lambda s: (math.prod(s), s)))

    @field_validator("window")
    @classmethod
    def _rising(cls, window: tuple[float, float]) -> tuple[float, float]:
        if window[0] >= window[1]:
            raise ValueError(f"{list(window)}: the lowest HU comes first")
        return window
