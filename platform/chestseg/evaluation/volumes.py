"""Score a predictor on volumes of a prepared dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.metrics_volume import TOLERANCE_MM, VolumeScore, VolumeSummary, score_volume, summarise_volumes


@dataclass(frozen=True)
class VolumeEvaluation:
    """The scores of each case, in the order they were asked for, compared at the source's spacing."""

    rows: tuple[VolumeScore, ...]
    tolerance_mm: float = TOLERANCE_MM
    """Of the normalised surface Dice."""

    @property
    def compared(self) -> str:
        """Where masks were compared, in words."""
        return f"masks compared at their sources' spacing, surfaces within {self.tolerance_mm:g} mm"

    @cached_property
    def summary(self) -> VolumeSummary:
        """All cases together."""
        return summarise_volumes(self.rows)

    @cached_property
    def by_source(self) -> dict[str, VolumeSummary]:
        """Each source apart, by name: scanners and readers differ."""
        names = sorted({row.source for row in self.rows})
        return {name: summarise_volumes([row for row in self.rows if row.source == name]) for name in names}


def evaluate_volumes(
    predictor: VolumePredictor, dataset: PreparedVolumes, indices: Sequence[int] | np.ndarray, progress: bool = False
) -> VolumeEvaluation:
    """Segment cases and compare with the masks as they were drawn.

    The network sees the prepared volume at its own spacing, which is what it makes of the source itself.

    Args:
        predictor: the model.
        dataset: prepared at the model's spacing.
        indices: cases, as from `PreparedVolumes.indices`.
        progress: show a bar on standard error.

    Raises:
        ValueError: the dataset was not prepared at the model's spacing or window, or is damaged.
    """
    require_window(predictor, dataset)
    sources = dataset.table["source"].to_pylist()
    rows: list[VolumeScore] = []
    for index in tqdm([int(index) for index in indices], desc="evaluate", unit="volume", disable=not progress):
        truth, spacing = dataset.truth(index)
        slices, lines, columns = truth.shape
        found, _ = predictor.segment(dataset.image(index, predictor.preprocessing.spacing), (slices, lines, columns), spacing)
        rows.append(score_volume(dataset.case_ids[index], sources[index], found, truth, spacing))
    return VolumeEvaluation(tuple(rows))


def require_window(predictor: VolumePredictor, dataset: PreparedVolumes) -> None:
    """Refuse volumes whose grey values are not those that the network learned from.

    Raises:
        ValueError: names both windows and the remedy.
    """
    if predictor.preprocessing.window != dataset.window:
        raise ValueError(
            f"the model's window is {list(predictor.preprocessing.window)} HU, {dataset.folder} was prepared with {list(dataset.window)}: "
            "prepare another folder with data.window as the model's"
        )
