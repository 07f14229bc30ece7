"""The resolution schedule: an ordered list of stages, each a whole training at one size."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from chestseg.config.strict import Extended, Strict

Triple = tuple[int, int, int]
"""Voxels along slices, rows and columns."""
Spacing = tuple[float, float, float]
"""Millimetres between slices, rows and columns."""

MASK_TERMS = ("bce", "dice", "dice_squared", "tversky", "focal")


class Loss(Strict):
    """Weights of the loss terms; a term of weight 0 is not computed."""

    bce: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)
    focal: float = Field(default=0.0, ge=0)
    empty: float = Field(default=0.0, ge=0)
    """Binary cross-entropy of the empty-mask head; needs `model.empty_head`."""
    dice_squared: float = Field(default=0.0, ge=0)
    """Dice with squared terms in the denominator (Milletari et al. 2016)."""
    tversky: float = Field(default=0.0, ge=0)
    """Tversky (Salehi et al. 2017) with a false positive at `1 - tversky_beta` and a false negative at `tversky_beta`."""
    tversky_beta: float = Field(default=0.7, gt=0, lt=1)

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not any(getattr(self, term) for term in MASK_TERMS):
            raise ValueError(f"all mask losses have weight 0: give one of {', '.join(MASK_TERMS)} a positive weight")
        return self


class Optimiser(Strict):
    """An optimiser and its learning-rate curve over the stage's steps."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    final_lr: float = Field(default=1e-5, ge=0)
    """Learning rate at the last step of `cosine` and `one_cycle`."""
    curve: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the stage's steps over which the rate rises to its peak."""
    encoder_lr: float = Field(default=1.0, gt=0)
    """Factor on the learning rate of the encoder's parameters."""
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD's momentum (Nesterov); Adam's first beta."""
    second_beta: float = Field(default=0.999, gt=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    """Largest allowed L2 norm of the whole gradient."""


class Swa(Extended):
    """Stochastic weight averaging over a window of epochs at the end of a stage (Izmailov et al. 2018)."""

    later: ClassVar[dict[str, Any]] = {"skip": 0, "tail": None}

    last: int = Field(default=5, ge=1)
    """How many epochs the window spans."""
    stride: int = Field(default=1, ge=1)
    """Every `stride`-th epoch of the window counts, its last one always."""
    skip: int = Field(default=0, ge=0)
    """How many of the stage's last epochs lie behind the window."""
    tail: int | None = Field(default=None, ge=1)
    """How many of the stage's last epochs have the constant rate `lr`, and their weights kept; `last` and `skip` together when null."""
    lr: float | None = Field(default=None, gt=0)
    """Constant learning rate of the tail; null keeps the stage's curve."""
    batch_norm_batches: int = Field(default=64, ge=1)
    """Micro-batches over which batch-norm statistics are re-estimated for an average."""

    @property
    def constant(self) -> int:
        """Epochs at the end of the stage that have the rate `lr`, where there is one."""
        return self.skip + self.last if self.tail is None else self.tail


class Stage(Strict, ABC):
    """One training at one resolution. Weights pass from stage to stage; the optimiser starts anew."""

    epochs: int = Field(ge=1)
    batch: int = Field(default=8, ge=1)
    """Global batch over all workers, in images."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Images that share batch-norm statistics and a Dice loss, and fit a worker's memory at once; `batch` when null."""
    cases_per_epoch: int | None = Field(default=None, ge=1)
    """Images drawn in an epoch; the number of training cases when null."""
    positives: float | tuple[float, ...] | None = None
    """Share of positive cases in a batch, 0..1; a list is spread over the epochs; null draws every case once."""
    optimiser: Optimiser = Optimiser()
    loss: Loss = Loss()
    augmentation: float = Field(default=1.0, ge=0, le=2)
    """Strength of augmentation, 0 none, 1 the paper's."""
    frozen: tuple[Literal["encoder", "batch_norm"], ...] = ()
    """`encoder`: its weights do not move. `batch_norm`: the running statistics of the encoder's layers are used and kept, while their scale
    and shift, and all of the decoder's, still learn."""
    swa: Swa | None = None
    early_stop: int | None = Field(default=None, ge=1)
    """End the stage after so many epochs without a better validation Dice."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations; the stage's last epoch is always validated."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch % (self.micro_batch or self.batch):
            raise ValueError(f"batch {self.batch} is not a multiple of micro_batch {self.micro_batch}")
        shares = (self.positives,) if isinstance(self.positives, (int, float)) else (self.positives or ())
        if any(not 0 <= s <= 1 for s in shares):
            raise ValueError(f"positives {self.positives}: shares lie between 0 and 1")
        if self.swa and self.swa.skip + self.swa.last > self.epochs:
            skip = f" with swa.skip {self.swa.skip}" if self.swa.skip else ""
            raise ValueError(f"swa.last {self.swa.last}{skip} is longer than the stage's {self.epochs} epochs: lower it, or raise epochs")
        if self.swa and (self.swa.tail or 0) > self.epochs:
            raise ValueError(f"swa.tail {self.swa.tail} is longer than the stage's {self.epochs} epochs: lower it, or raise epochs")
        return self

    @property
    @abstractmethod
    def resolution(self) -> str:
        """What the stage sees, in words."""

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches in a global batch."""
        return self.batch // (self.micro_batch or self.batch)

    @property
    def images_per_micro_batch(self) -> int:
        """Images in one micro-batch."""
        return self.micro_batch or self.batch


COARSEST = 32
"""Pixels of an image in each one of an encoder's deepest level."""


class RadiographStage(Stage):
    """One training on whole radiographs, resized to a square."""

    size: int = Field(gt=0, multiple_of=COARSEST)

    @model_validator(mode="after")
    def _enough_for_batch_norm(self) -> Self:
        if self.size == COARSEST and self.images_per_micro_batch == 1 and "batch_norm" not in self.frozen:
            raise ValueError(f"one image of {self.size} px a micro-batch leaves batch norm one value: raise micro_batch, batch or size")
        return self

    @property
    def resolution(self) -> str:
        """The square's edge."""
        return f"{self.size} px"


class VolumeStage(Stage):
    """One training on patches of volumes; `cases_per_epoch` counts patches, `positives` the share of them from positive cases."""

    spacing: Spacing
    patch: Triple
    foreground: float = Field(default=0.67, ge=0, le=1)
    """Of the patches from positive cases, the share that is centred near a voxel of the mask; the others lie anywhere."""

    @property
    def resolution(self) -> str:
        """Spacing and patch."""
        return f"{' x '.join(f'{mm:g}' for mm in self.spacing)} mm, patches {' x '.join(map(str, self.patch))}"

    @field_validator("spacing", "patch")
    @classmethod
    def _positive(cls, extent: Spacing | Triple, field: ValidationInfo) -> Spacing | Triple:
        if min(extent) <= 0:
            unit = "millimetres between" if field.field_name == "spacing" else "voxels along"
            raise ValueError(f"{list(extent)}: {unit} slices, rows and columns are positive")
        return extent
