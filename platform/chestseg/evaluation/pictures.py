"""Overlays of the worst and the best positive cases: prediction filled, truth outlined, numbered, without identifiers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from chestseg.arrays.overlay import overlay
from chestseg.arrays.resample import resample_mask
from chestseg.data.prepared import PreparedDataset
from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.evaluation.evaluate import shown_mm2
from chestseg.files import whole_file

PICTURES = 4
"""At either end."""
EDGE = 512
"""Least height in pixels of a slice's picture."""


def draw_cases(predictor: Any, dataset: PreparedDataset, indices: np.ndarray, rows: Sequence[Any], folder: Path) -> None:
    """Write `worst-1.png`, `best-1.png` and so on; of a volume, the slice that holds most of the true mask.

    Args:
        predictor: of the dataset's kind.
        dataset: where images and masks come from.
        indices: the cases that were scored.
        rows: their scores, in the same order, with `positive` and `dice`.
        folder: where the pictures go.
    """
    positives = sorted((row.dice, place) for place, row in enumerate(rows) if row.positive)
    chosen = {f"worst-{n}": p for n, (_, p) in enumerate(positives[:PICTURES], 1)}
    chosen |= {f"best-{n}": p for n, (_, p) in enumerate(positives[::-1][:PICTURES], 1)}
    for name, place in chosen.items():
        index = int(indices[place])
        picture = _volume(predictor, dataset, index) if isinstance(dataset, PreparedVolumes) else _radiograph(predictor, dataset, index)
        with whole_file(folder / f"{name}.png") as file:
            file.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


def _radiograph(predictor: Any, dataset: Any, index: int) -> np.ndarray:
    image = dataset.image(index, predictor.size)
    found = predictor.predict([image], shown_mm2=shown_mm2(dataset, [index]))[0]
    return overlay(image, found.mask, dataset.mask(index, predictor.size))


def _volume(predictor: Any, dataset: PreparedVolumes, index: int) -> np.ndarray:
    spacing = predictor.preprocessing.spacing
    image, (truth, source_spacing) = np.array(dataset.image(index, spacing)), dataset.truth(index)
    found = resample_mask(predictor.segment(image, truth.shape, source_spacing)[0], image.shape)
    truth = resample_mask(truth, image.shape)
    shown = int(truth.sum((1, 2)).argmax())
    times = max(1, round(EDGE / image.shape[1]))
    grown = [np.kron(plane, np.ones((times, times), np.uint8)) for plane in (image[shown], found[shown], truth[shown])]
    return overlay(*grown)
