"""The end of a trial that nobody stopped: its SWA window, its final weights, what they are worth, and how fast the served model is."""

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chestseg.bundle import Bundle, BundleSpec
from chestseg.config import Experiment, Windows
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.windows import choose_window
from chestseg.evaluation.conclude import GOLDEN_PHANTOM, conclude, golden_image
from chestseg.files import sha256_of
from chestseg.inference.predictor import Predictor
from chestseg.inference.predictors import predictor_of
from chestseg.phantoms.ct.make import LEAST_SHAPE, make_ct_phantom
from chestseg.preprocessing import VolumePreprocessing
from chestseg.training.group import Group
from chestseg.training.run import FINAL
from chestseg.training.windows import final_weights, with_window
from chestseg.tuning.flops import voxels_of
from chestseg.tuning.result import RULE

SCORES = {"val_dice": "mean_dice", "val_dice_positives": "dice_positives", "val_negatives_empty": "specificity"}
"""What each metric of an epoch's validation is called among the scores of a bundle, on masks as they are served."""
LATENCY_REPEATS = 9
"""Of a radiograph."""
VOLUME_REPEATS = 3
TIMED_CHEST = (60.0, 350.0, 350.0)
"""Millimetres along slices, rows and columns of the volume that is timed: a fifth of `REFERENCE_CHEST` in depth. Whole in its plane, since
patches of coarse models cover that at once."""


@dataclass(frozen=True)
class Scoring:
    """What a sweep wants to know of a trial."""

    metric: str
    latency: bool = False
    """Of the served model."""
    windows: Windows | None = None
    """Choose one first; null keeps the weights that the training ended with."""


@dataclass(frozen=True)
class Scored:
    """A trial's result."""

    value: float
    """The sweep's metric on the held-out fold, of the bundle."""
    latency: float | None
    """Seconds of the served model for one image, or a volume of TIMED_CHEST, where the sweep asks for it."""
    extra: dict[str, Any]
    """`weights` (their SHA-256) and, where one was chosen, `window` (a `WindowResult`) and `rule` (of post-processing)."""


def score_trial(experiment: Experiment, dataset: PreparedDataset, scoring: Scoring, device: torch.device) -> Scored:
    """Score final weights on the held-out fold and write the bundle into the trial's run folder.

    Raises:
        ValueError: the held-out fold has no case that the metric is about.
    """
    folder, training, metric = Path(experiment.run_folder), experiment.training, scoring.metric
    weights, extra = folder / FINAL, dict[str, Any]()
    if scoring.windows:
        cpus = training.workers * training.cpus_per_worker
        found = choose_window(experiment, folder, scoring.windows, cpus, metric=metric, device=device, dataset=dataset)
        weights = final_weights(with_window(experiment, found.window), dataset, folder, Group(device=device))
        extra["window"] = asdict(found)
    bundle = conclude(experiment, weights, device)
    name = f"validation_{SCORES[metric]}"
    if name not in bundle.spec.metrics:
        raise ValueError(f"metric {metric!r}: fold {experiment.fold} has no case it is about: choose another fold or metric")
    if experiment.choose:
        extra[RULE] = bundle.spec.postprocessing.model_dump(mode="json")
    seconds = measure_latency(bundle, device) if scoring.latency else None
    return Scored(bundle.spec.metrics[name], seconds, {**extra, "weights": sha256_of(weights)})


def measure_latency(bundle: Bundle, device: torch.device) -> float:
    """Seconds from an image in memory to its mask, as the bundle is served: the median of several, after one that warms up."""
    predictor = predictor_of(bundle, device=str(device))
    image = timed_image(bundle.spec)
    repeats = LATENCY_REPEATS if isinstance(predictor, Predictor) else VOLUME_REPEATS

    def answer() -> float:
        start = time.perf_counter()
        if isinstance(predictor, Predictor):
            predictor.predict([image])
        else:
            assert isinstance(bundle.spec.preprocessing, VolumePreprocessing)
            predictor.segment(image, image.shape, bundle.spec.preprocessing.spacing)
        return time.perf_counter() - start

    answer()
    return statistics.median(answer() for _ in range(repeats))


def timed_image(spec: BundleSpec) -> np.ndarray:
    """The generated image that a bundle is timed on, uint8: the golden radiograph, or a volume as large in millimetres for all spacings."""
    if not isinstance(spec.preprocessing, VolumePreprocessing):
        return golden_image(spec)
    slices, rows, columns = map(max, voxels_of(TIMED_CHEST, spec.preprocessing.spacing), LEAST_SHAPE)
    phantom = make_ct_phantom(GOLDEN_PHANTOM, (slices, rows, columns), spec.preprocessing.spacing)
    return spec.preprocessing.to_uint8(phantom.volume.canonical().values)
