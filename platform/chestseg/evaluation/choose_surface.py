"""Scores of every candidate rule as arrays with named axes, and the candidate in the middle of the best ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field
from scipy import ndimage

from chestseg.config.postprocessing import Objective
from chestseg.files import whole_file

STEPS = tuple(k / 20 for k in range(1, 20))
"""Thresholds 0.05, 0.10 ... 0.95."""
Thresholds = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1), AfterValidator(lambda v: tuple(sorted(set(v))))
]
Amounts = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1), AfterValidator(lambda v: tuple(sorted(set(v))))]
"""Candidates for an axis, in rising order."""
TIE = 1e-9
"""Scores no farther apart are equal: sums of the same numbers in another order differ by less."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The scores of all candidates over one set of cases."""

    axes: Mapping[str, tuple[float, ...]]
    """Candidates by name, in the order of the arrays' axes. An `empty_threshold` or area of 0 does nothing."""
    scores: Mapping[str, np.ndarray]
    """`mean_dice`, `dice_positives`, `sensitivity` and `specificity` as `metrics.Summary` defines them, float64 over the axes; NaN where
    the rule does not exist or there is nothing to average over."""
    cases: int
    positives: int

    def at(self, place: tuple[int, ...]) -> dict[str, float]:
        """The scores of one candidate, without those there are not."""
        return {name: float(values[place]) for name, values in self.scores.items() if not np.isnan(values[place])}

    def candidate(self, place: tuple[int, ...]) -> dict[str, float]:
        """Its value on each axis."""
        return {name: values[index] for (name, values), index in zip(self.axes.items(), place, strict=True)}

    def save(self, path: Path) -> None:
        """Write an .npz: each score, each axis as `axis_NAME`, and `axes`, their names in order."""
        arrays = {"axes": np.array(list(self.axes)), **self.scores, **{f"axis_{name}": np.array(v) for name, v in self.axes.items()}}
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def best(surface: Surface, objective: Objective) -> tuple[tuple[int, ...], np.ndarray]:
    """The candidate in the middle of the best ones, and which are the best, bool over the axes.

    Raises:
        ValueError: no negatives for a floor of specificity, or no rule reaches it.
    """
    values = surface.scores[objective.name]
    if np.isnan(values).all():
        raise ValueError("no combination of the candidates is a rule: give a top_threshold that is not below every threshold")
    floor = objective.least_specificity
    if floor is not None:
        specificity = surface.scores["specificity"]
        if surface.positives == surface.cases:
            raise ValueError("least_specificity needs cases without disease and there are none: add some, or choose by mean_dice")
        values = np.where(specificity >= floor - TIE, values, np.nan)
        if np.isnan(values).all():
            raise ValueError(f"no rule reaches least_specificity {floor}, at most {np.nanmax(specificity):.4f}: lower it")
    plateau = values >= np.nanmax(values) - TIE
    return middle(plateau), plateau


def middle(plateau: np.ndarray) -> tuple[int, ...]:
    """The place farthest from the edge of the largest connected part of a plateau (bool, not all False), by steps along any axes.

    Axes along which that part does not extend say nothing of its edge and are left out; of places equally far, the one nearest to
    the part's centre is taken.
    """
    parts = np.empty(plateau.shape, np.int32)
    ndimage.label(plateau, np.ones((3,) * plateau.ndim), output=parts)
    places = np.argwhere(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
    low = places.min(0)
    wide = places.max(0) > low
    deepest = places
    if wide.any():
        framed = (places - low)[:, wide] + 1
        box = np.zeros(framed.max(0) + 2, np.uint8)  # the frame of zeros is an edge too
        box[tuple(framed.T)] = 1
        steps = np.asarray(ndimage.distance_transform_cdt(box, "chessboard"))[tuple(framed.T)]
        deepest = places[steps == steps.max()]
    chosen = deepest[((deepest - places.mean(0)) ** 2).sum(1).argmin()]
    return tuple(int(index) for index in chosen)
