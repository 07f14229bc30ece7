"""Score a predictor on cases of a prepared dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.inference.predictor import Predictor
from chestseg.metrics import CaseScore, Summary, score_case, summarise


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of each case, in the order they were asked for, compared at `size` x `size` pixels."""

    rows: tuple[CaseScore, ...]
    size: int

    @property
    def compared(self) -> str:
        """Where masks were compared, in words."""
        return f"masks compared at {self.size} x {self.size}"

    @cached_property
    def summary(self) -> Summary:
        """All cases together."""
        return summarise(self.rows)

    @cached_property
    def by_source(self) -> dict[str, Summary]:
        """Each source apart, by name: where positives and negatives come from different ones, a network can tell these instead."""
        names = sorted({row.source for row in self.rows})
        return {name: summarise([row for row in self.rows if row.source == name]) for name in names}


def evaluate(
    predictor: Predictor, dataset: PreparedRadiographs, indices: Sequence[int] | np.ndarray, size: int | None = None, progress: bool = False
) -> EvaluationResult:
    """Segment cases and compare with their masks.

    The network sees the prepared image of its own size, which is what it makes of the source itself.

    Args:
        predictor: the model.
        dataset: prepared at the network's size or larger.
        indices: cases, as from `PreparedRadiographs.indices`.
        size: edge in pixels at which masks are compared; the largest prepared one when None.
        progress: show a bar on standard error.

    Raises:
        ValueError: the dataset was not prepared at the network's size, or is damaged.
    """
    size = size or max(dataset.sizes)
    sources = dataset.table["source"].to_pylist()
    rows: list[CaseScore] = []
    with tqdm(total=len(indices), desc="evaluate", unit="image", disable=not progress) as bar:
        for start in range(0, len(indices), predictor.batch):
            chosen = [int(index) for index in indices[start : start + predictor.batch]]
            found = predictor.predict([dataset.image(index, predictor.size) for index in chosen], (size, size))
            for index, prediction in zip(chosen, found, strict=True):
                truth = dataset.mask(index, size)
                rows.append(score_case(dataset.case_ids[index], sources[index], prediction.mask, truth, prediction.probability))
            bar.update(len(chosen))
    return EvaluationResult(tuple(rows), size)
