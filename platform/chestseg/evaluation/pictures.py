"""Cases as pictures without identifiers: the prediction filled in orange, the truth outlined in blue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from chestseg.arrays.overlay import overlay
from chestseg.arrays.resample import resample_mask
from chestseg.data.prepared import PreparedDataset
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.evaluation.evaluate import shown_mm2
from chestseg.files import whole_file

PICTURES = 4
"""At either end."""
EDGE = 512
"""Least height in pixels of a slice's picture."""
PANEL = 352
"""Height in pixels of the panels of a report's picture."""
GAP = 6
"""Pixels between them."""

Shown = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image, predicted and true mask (H, W) uint8."""


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
        write_png(folder / f"{name}.png", overlay(*shown(predictor, dataset, int(indices[place]))))


def shown(predictor: Any, dataset: PreparedDataset, index: int) -> Shown:
    """A case as the network sees it, with both masks; of a volume the slice that holds most of the true mask, else of the other."""
    if isinstance(dataset, PreparedVolumes):
        return _volume(predictor, dataset, index)
    assert isinstance(dataset, PreparedRadiographs), dataset.KIND
    image = dataset.image(index, predictor.size)
    found = predictor.predict([image], shown_mm2=shown_mm2(dataset, [index]))[0]
    return image, found.mask, dataset.mask(index, predictor.size)


def panels(image: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Truth, prediction, and both, side by side; (`PANEL`, width, 3) RGB on white."""
    height, width = image.shape
    size = (max(1, round(width * PANEL / height)), PANEL)
    grown = cv2.resize(image, size, interpolation=cv2.INTER_AREA if height > PANEL else cv2.INTER_LINEAR)
    found, true = (cv2.resize((m != 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for m in (mask, truth))
    nothing = np.zeros_like(found)
    gap = np.full((PANEL, GAP, 3), 255, np.uint8)
    return np.hstack([overlay(grown, nothing, true), gap, overlay(grown, found), gap, overlay(grown, found, true)])


def png(picture: np.ndarray) -> bytes:
    """An RGB picture as PNG, which says nothing but its pixels."""
    return cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def write_png(path: Path, picture: np.ndarray) -> bytes:
    """Write an RGB picture, whole or not at all, and return its bytes."""
    content = png(picture)
    with whole_file(path) as file:
        file.write_bytes(content)
    return content


def _volume(predictor: Any, dataset: PreparedVolumes, index: int) -> Shown:
    spacing = predictor.preprocessing.spacing
    image, (truth, source_spacing) = np.array(dataset.image(index, spacing)), dataset.truth(index)
    found = resample_mask(predictor.segment(image, truth.shape, source_spacing)[0], image.shape)
    truth = resample_mask(truth, image.shape)
    most = truth if truth.any() else found
    place = int(most.sum((1, 2)).argmax())
    times = max(1, round(EDGE / image.shape[1]))
    grown = [np.kron(plane, np.ones((times, times), np.uint8)) for plane in (image[place], found[place], truth[place])]
    return grown[0], grown[1], grown[2]
