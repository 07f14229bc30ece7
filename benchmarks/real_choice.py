"""The rule from probabilities to a mask for each held-out fold of the small real radiographs, chosen without looking at it.

For each pair of neighbouring folds a training on the other three is scored on both. What is chosen for a held-out fold rests on the two
trainings that left it out, each scored on the other fold of its pair: neither a weight nor a choice has seen the held-out fold. Chosen
is the rule of the highest Dice on positives among those that leave 90 % of the negatives empty.
"""

import itertools
import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.against_script import live_radiographs, train_timed

from chestseg.config import Experiment, Postprocessing
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.inference import postprocess
from chestseg.inference.predictor import LiveModel, Predictor
from chestseg.metrics import dice

FOLDS, SCORED_AT = 5, 256
THRESHOLDS, TOP_THRESHOLDS, AREAS = (0.2, 0.3, 0.4, 0.5, 0.6), (0.4, 0.5, 0.6, 0.7, 0.8, 0.9), (1000, 2000, 4000)
"""The rules tried; areas in pixels of 1024 x 1024, in the range that the method's authors tried."""
EMPTY = 0.9
"""Share of the negatives that a rule has to leave empty."""


class WithoutFold:
    """A prepared dataset that lacks one fold."""

    def __init__(self, dataset: PreparedRadiographs, fold: int) -> None:
        self.dataset, self.left_out = dataset, fold

    def __getattr__(self, name: str) -> Any:
        """All but the indices is the dataset's own."""
        return getattr(self.dataset, name)

    def indices(self, split: str = "train", fold: int | None = None, exclude_fold: int | None = None) -> np.ndarray:
        """As the dataset's, less the fold's."""
        found = self.dataset.indices(split, fold, exclude_fold)
        return found[self.dataset.fold[found] != self.left_out]


def choose(experiment: Callable[[list[str]], Experiment], folder: Path, fold: int, threads: int) -> Postprocessing:
    """The rule for a held-out fold; trainings and choices are kept in the folder.

    Args:
        experiment: the configured one with more changes.
        folder: for what is kept.
        fold: held out.
        threads: of a training.
    """
    kept = folder / f"choice-{fold}.json"
    if not kept.exists():
        dataset = PreparedRadiographs.open(experiment([]).data.prepared)
        maps, truths = [], []
        for pair, other in ((fold, (fold + 1) % FOLDS), ((fold - 1) % FOLDS, (fold - 1) % FOLDS)):
            maps += list(np.load(pair_maps(experiment, folder, pair, threads))[f"fold{other}"])
            truths += [dataset.mask(int(i), SCORED_AT) for i in dataset.indices("train", fold=other)]
        enough, score, rule = best_rule(maps, truths)
        kept.write_text(json.dumps({"rule": rule.model_dump(), "dice": score, "negatives left empty": enough}))
        print(f"fold {fold}: {kept.read_text()}", flush=True)
    return Postprocessing.model_validate(json.loads(kept.read_text())["rule"])


def pair_maps(experiment: Callable[[list[str]], Experiment], folder: Path, pair: int, threads: int) -> Path:
    """Probabilities of folds `pair` and the one after it by a training that saw neither, as an archive of arrays (n, size, size)."""
    kept = folder / f"pair-{pair}.npz"
    if not kept.exists():
        two = (pair, (pair + 1) % FOLDS)
        inner = experiment(["seed=1000", f"fold={two[1]}", f"training.threads={threads}"])
        dataset = PreparedRadiographs.open(inner.data.prepared)
        without: Any = WithoutFold(dataset, two[0])
        trained = train_timed(inner, without, threads)
        rule = inner.postprocessing
        assert isinstance(rule, Postprocessing)
        answer = live_radiographs(inner, trained.averaged, rule)
        maps: dict[str, Any] = {
            f"fold{fold}": probabilities_of(answer, dataset, indices) for fold in two if len(indices := dataset.indices("train", fold=fold))
        }
        np.savez_compressed(kept, **maps)
        print(f"without folds {two}: {trained.minutes:.2f} min", flush=True)
    return kept


def probabilities_of(model: LiveModel, dataset: PreparedRadiographs, indices: np.ndarray) -> np.ndarray:
    """The model's probabilities for those cases, float16 (n, size, size)."""
    predictor = Predictor(model)
    images = [dataset.image(int(i), predictor.size) for i in indices]
    return np.stack([answer.mask for answer in predictor.probabilities(images)]).astype(np.float16)


def masks_of(maps: Iterable[np.ndarray], rule: Postprocessing) -> list[np.ndarray]:
    """What the rule makes of each map."""
    return [postprocess.apply(map_.astype(np.float32), None, rule, (SCORED_AT, SCORED_AT)) for map_ in maps]


def best_rule(maps: list[np.ndarray], truths: list[np.ndarray]) -> tuple[bool, float, Postprocessing]:
    """The best of a small grid: whether it leaves enough negatives empty, its Dice on positives, and the median of the rules that tie."""
    scored = []
    for threshold, top, area in itertools.product(THRESHOLDS, TOP_THRESHOLDS, AREAS):
        if top < threshold:
            continue
        rule = Postprocessing(threshold=threshold, top_threshold=top, min_area=area)
        masks = masks_of(maps, rule)
        dice_ = statistics.fmean(dice(m, t) for m, t in zip(masks, truths, strict=True) if t.any())
        empty = statistics.fmean(float(not m.any()) for m, t in zip(masks, truths, strict=True) if not t.any())
        scored.append((empty >= EMPTY, round(dice_, 3), rule))
    best = max(score[:2] for score in scored)
    ties = [rule for *score, rule in scored if tuple(score) == best]
    return (*best, ties[len(ties) // 2])
