"""From probabilities to a mask; what is chosen here travels in the bundle."""

from typing import Literal, Self

from pydantic import Field, model_validator

from chestseg.config.strict import Strict


class Postprocessing(Strict):
    """Of radiographs."""

    flip_tta: bool = True
    """Average the probabilities of the image and its left-right mirror."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Pixels at or above it belong to the mask (the triplet's bottom threshold)."""
    top_threshold: float | None = Field(default=None, gt=0, lt=1)
    """With `min_area`: the mask is kept only where at least that area reaches this probability (the triplet's top threshold)."""
    min_area: float = Field(default=0.0, ge=0)
    """Pixels of a 1024x1024 image, scaled with the square of the size. Smaller masks are emptied; with `top_threshold` counted there."""
    min_area_mm2: float | None = Field(default=None, ge=0)
    """Square millimetres in the patient: stands in for `min_area` where the image's spacing is credible."""
    empty_threshold: float | None = Field(default=None, gt=0, lt=1)
    """With an empty-mask head: the mask is emptied when its probability of disease is lower."""

    @model_validator(mode="after")
    def _top_above_bottom(self) -> Self:
        if self.top_threshold is not None and self.top_threshold < self.threshold:
            raise ValueError(f"top_threshold {self.top_threshold} is below threshold {self.threshold}")
        return self


class VolumePostprocessing(Strict):
    """Of volumes."""

    flip_tta: bool = False
    """Average the probabilities of the volume and its left-right mirror."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Voxels at or above it belong to the mask."""
    min_lesion_ml: float = Field(default=0.0, ge=0)
    """Connected components (26 neighbours) of a smaller volume are removed."""
    lungs_only: bool = False
    """Look for infiltrates in the chest's air spaces and what they enclose only; elsewhere nothing is computed and nothing found."""
    overlap: float = Field(default=0.25, ge=0, lt=1)
    """Share of a patch that its neighbour in the sliding window covers too."""


class Objective(Strict):
    """What the best rule has most of, where post-processing is chosen on held-out cases."""

    name: Literal["mean_dice", "dice_positives"] = "mean_dice"
    """As in `metrics.Summary`."""
    least_specificity: float | None = Field(default=None, ge=0, le=1)
    """Rules that leave a smaller share of negatives empty are out."""

    @model_validator(mode="after")
    def _positives_need_a_floor(self) -> Self:
        if self.name == "dice_positives" and self.least_specificity is None:
            raise ValueError("dice_positives alone is best where every case has a mask: give least_specificity, such as 0.9")
        return self
