"""Score a predictor on cases of a prepared dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.inference.postprocess import image_mm2
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
            images = [dataset.image(index, predictor.size) for index in chosen]
            found = predictor.predict(images, (size, size), shown_mm2(dataset, chosen))
            for index, prediction in zip(chosen, found, strict=True):
                truth = dataset.mask(index, size)
                rows.append(score_case(dataset.case_ids[index], sources[index], prediction.mask, truth, prediction.probability))
            bar.update(len(chosen))
    return EvaluationResult(tuple(rows), size)


def shown_mm2(dataset: PreparedRadiographs, indices: Sequence[int]) -> list[float | None]:
    """Square millimetres of the patient on each case's radiograph; None where its spacing is not credible."""
    rows = dataset.table.select(["height", "width", "spacing_row", "spacing_col"]).take(list(indices)).to_pylist()
    spacings = [None if row["spacing_row"] is None else (row["spacing_row"], row["spacing_col"]) for row in rows]
    return [image_mm2((row["height"], row["width"]), spacing) for row, spacing in zip(rows, spacings, strict=True)]
