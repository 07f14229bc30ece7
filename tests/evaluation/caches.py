"""Caches of maps made up in memory, and the maps beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chestseg.config import Postprocessing, VolumePostprocessing
from chestseg.evaluation.levels import pack
from chestseg.evaluation.probabilities import CachedCase, Origin, ProbabilityCache, TrainedNetwork
from chestseg.evaluation.write_probabilities import write_cases
from chestseg.preprocessing import Preprocessing, VolumePreprocessing

SIZE = 32
SPACING = (2.0, 1.5, 1.5)


class Made(NamedTuple):
    """One case before it is packed."""

    case_id: str
    probabilities: np.ndarray
    truth: np.ndarray
    disease: float | None = None
    shown_mm2: float | None = None

    @property
    def cached(self) -> CachedCase:
        return CachedCase(self.case_id, pack(self.probabilities, self.truth), self.disease, self.shown_mm2)


def random_case(seed: int, shape: tuple[int, ...] = (SIZE, SIZE), head: bool = False, spaced: float = 0.0) -> Made:
    """Noise around a box of high probabilities near a true box; a third is without either; some values lie on thresholds."""
    random = np.random.default_rng(seed)
    probabilities = random.beta(0.3, 4, shape).astype(np.float32)
    truth = np.zeros(shape, np.uint8)
    if seed % 3:
        low = [int(random.integers(0, n // 2)) for n in shape]
        box = tuple(slice(a, a + int(random.integers(2, n // 2))) for a, n in zip(low, shape, strict=True))
        truth[box] = 1
        probabilities[tuple(slice(s.start + 1, s.stop + 1) for s in box)] += random.uniform(0, 0.7)
    probabilities = np.clip(probabilities, 0, 1)
    round_ones = random.random(shape) < 0.3
    probabilities[round_ones] = np.round(probabilities[round_ones] * 20) / 20
    disease = float(np.float32(random.random())) if head else None
    shown = float(random.uniform(80_000, 180_000)) if random.random() < spaced else None
    return Made(f"case-{seed}", probabilities, truth, disease, shown)


def origin(cases: int, fold: int = 0, **changes: object) -> Origin:
    facts: dict[str, object] = {
        "network": TrainedNetwork(digest="abc", dataset_hash="d", held_out=fold),
        "dataset_hash": "d",
        "split": "train",
        "fold": fold,
        "preprocessing": Preprocessing(size=SIZE),
        "postprocessing": Postprocessing(),
        "cases": cases,
    }
    return Origin.model_validate(facts | changes)


def of_volumes(cases: int, fold: int = 0, **changes: object) -> Origin:
    preprocessing = VolumePreprocessing(spacing=SPACING, window=(-1000.0, 400.0), patch=(8, 32, 32))
    return origin(cases, fold, preprocessing=preprocessing, postprocessing=VolumePostprocessing(), **changes)


def write_made(folder: Path, made: Sequence[Made], origin: Origin) -> ProbabilityCache:
    return write_cases(folder, origin, lambda places: [made[place].cached for place in places])
