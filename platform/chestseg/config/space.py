"""The space of a sweep: which resolution schedules, rates, losses and encoders its trials are drawn from."""

import math
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from chestseg.config.domain import Domain, Range, Reals, Steps, Wholes, ends, is_fixed, is_list
from chestseg.config.stage import Spacing, Triple
from chestseg.config.strict import Strict

ByStage = Literal["batch", "lr", "positives", "augmentation", "loss"]
PATHS = {"lr": "optimiser.lr"}
"""Where in a stage's tree a drawn value goes, unless its name says so."""


class Losses(Strict):
    """Weights of loss terms, as of `Loss`; a term left out keeps the base's weight."""

    bce: Reals | None = None
    dice: Reals | None = None
    focal: Reals | None = None
    empty: Reals | None = None
    dice_squared: Reals | None = None
    tversky: Reals | None = None
    tversky_beta: Reals | None = None


class Patches(Strict):
    """Volumes as a stage sees them: a spacing with the patch that goes with it."""

    spacing: Spacing
    patch: Triple

    @property
    def label(self) -> str:
        """The spacing, as a parameter's value."""
        return f"{' x '.join(f'{mm:g}' for mm in self.spacing)} mm"


class Space(Strict):
    """What a trial is drawn from. What is left out keeps the base's value.

    A schedule is drawn from its end: the resolution of the last stage, then of the one before, which is lower, and so on. The last stage
    leaves room for as many lower resolutions as the longest schedule needs, so the lowest ones are not drawn for it. A stage takes what
    the space does not name from the base's stage as far from the end, or from the base's first where there is none.
    """

    stages: Wholes
    """How many."""
    sizes: Wholes | None = None
    """Radiographs: edges in pixels that stages may have."""
    spacings: tuple[Patches, ...] | None = None
    """Volumes: what stages may see; ordered here from the largest voxels to the smallest."""
    share: Reals = Range(low=0.2, high=0.8)
    """Of the trial's compute, what the last stage gets; of what that leaves, what the stage before gets; the first takes the rest."""
    batch: Wholes | None = None
    """Global batch, in images or patches."""
    lr: Reals | None = None
    """Peak learning rate."""
    loss: Losses = Losses()
    positives: Reals | None = None
    augmentation: Reals | None = None
    encoder: dict[str, str] | None = None
    """Encoders to choose from, each with its `model.weights`."""
    tail_lr: Reals | None = None
    """Constant learning rate of the last stage's tail (`swa.lr`)."""
    by_stage: tuple[ByStage, ...] = ("batch", "lr")
    """Which are drawn for every stage anew; the others once for all stages."""

    @field_validator("spacings")
    @classmethod
    def _coarsest_first(cls, spacings: tuple[Patches, ...] | None) -> tuple[Patches, ...] | None:
        ordered = sorted(spacings or (), key=lambda patches: -math.prod(patches.spacing))
        for one, other in pairwise(ordered):
            if math.prod(one.spacing) == math.prod(other.spacing):
                raise ValueError(f"{one.label} and {other.label} have voxels of one volume, so neither is the finer: keep one of them")
        return None if spacings is None else tuple(ordered)

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if (self.sizes is None) == (self.spacings is None):
            raise ValueError("give sizes (radiographs) or spacings (volumes), and not both")
        if min(ends(self.stages)) < 1:
            raise ValueError("stages: a schedule has at least 1")
        if len(self.ladder) < self.most_stages:
            what = "sizes" if self.sizes is not None else "spacings"
            raise ValueError(
                f"{self.most_stages} stages need as many increasing {what}, there are {len(self.ladder)}: add some, or lower stages"
            )
        if any(not 0 < share < 1 for share in ends(self.share)):
            raise ValueError(f"share {list(ends(self.share))}: shares of a stage that others stand beside lie between 0 and 1")
        if self.encoder is not None and not self.encoder:
            raise ValueError("encoder: an empty mapping: name at least one encoder with its weights, or leave the key out")
        if not self.drawn:
            raise ValueError("nothing is left to draw: give a range or several values for something, or run the base with jobs/train.py")
        return self

    @property
    def most_stages(self) -> int:
        """Of any trial."""
        return int(max(ends(self.stages)))

    @property
    def ladder(self) -> tuple[dict[str, Any], ...]:
        """What a stage may be set to, from the lowest resolution to the highest: its keys and values."""
        if self.spacings is not None:
            return tuple(patches.model_dump(mode="json") for patches in self.spacings)
        return tuple({"size": size} for size in sorted(ends(self.sizes or ())))

    @property
    def by_stage_key(self) -> dict[str, Domain]:
        """What is drawn of a stage, by its name here: `batch`, `lr`, `loss.dice` and so on."""
        named = {"batch": self.batch, "lr": self.lr, "positives": self.positives, "augmentation": self.augmentation}
        named |= {f"loss.{term}": getattr(self.loss, term) for term in Losses.model_fields}
        return {name: domain for name, domain in named.items() if domain is not None}

    def encoder_values(self, encoder: str | None) -> dict[str, Any]:
        """What one of the encoders changes in the base, by path; nothing where None. A checksum there is of the base's own weights."""
        if encoder is None:
            return {}
        return {"model.encoder": encoder, "model.weights": (self.encoder or {})[encoder], "model.weights_sha256": None}

    @property
    def drawn(self) -> list[Domain]:
        """The domains with more than one value that some trial draws from."""
        domains: list[Domain] = [self.stages, *self.by_stage_key.values()]
        if len(self.ladder) > self.most_stages:
            domains.append(self.sizes if isinstance(self.sizes, Steps) else tuple(range(len(self.ladder))))
        if self.most_stages > 1:
            domains.append(self.share)
        if self.tail_lr is not None:
            domains.append(self.tail_lr)
        if self.encoder:
            domains.append(tuple(range(len(self.encoder))))
        return [domain for domain in domains if not is_fixed(domain)]

    @property
    def fixed_numeric(self) -> bool:
        """Whether all trials have the same parameters and each is a number from a range."""
        return is_fixed(self.stages) and not any(is_list(domain) for domain in self.drawn)
