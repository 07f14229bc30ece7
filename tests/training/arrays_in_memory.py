"""Twelve small generated cases with the interface of a prepared dataset, so that the loop is tested without a disk."""

import cv2
import numpy as np

from chestseg.config import CxrExperiment, Experiment, parse
from tests.training.folds_in_memory import FoldsInMemory


class ArraysInMemory(FoldsInMemory):
    """Discs on noise: every second case has one, cases 0 to 3 are fold 0."""

    hash = "generated"
    sizes = (64,)

    def __init__(self, count: int = 12, size: int = 64) -> None:
        draw = np.random.default_rng(5)
        self.positive = np.arange(count) % 2 == 0
        self.fold = np.arange(count) // 4
        self.images = draw.integers(0, 60, (count, size, size), dtype=np.uint8)
        self.masks = np.zeros_like(self.images)
        for case in np.flatnonzero(self.positive):
            y, x = draw.integers(size // 4, 3 * size // 4, 2)
            self.masks[case, y - 8 : y + 8, x - 8 : x + 8] = 1
        self.images += self.masks * 120

    def image(self, index: int, size: int) -> np.ndarray:
        return cv2.resize(self.images[index], (size, size), interpolation=cv2.INTER_AREA)

    def mask(self, index: int, size: int) -> np.ndarray:
        return cv2.resize(self.masks[index], (size, size), interpolation=cv2.INTER_NEAREST)


def small_experiment(**changes: object) -> Experiment:
    """Two stages of a few steps each, with SWA, an early-stop rule, dropout in the empty head, and batch norm of small micro-batches."""
    tree = {
        "name": "small",
        "seed": 3,
        "data": {"sources": [{"reader": "siim", "path": "x"}], "prepared": "x", "sizes": [32, 64], "folds": 3},
        "model": {"encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4], "empty_head": True},
        "stages": [
            {"size": 32, "epochs": 2, "batch": 4, "micro_batch": 2, "positives": [0.75, 0.5], "early_stop": 5},
            {
                "size": 64, "epochs": 3, "batch": 4, "micro_batch": 2, "optimiser": {"clip": 1.0},
                "loss": {"focal": 1.0, "empty": 0.5}, "swa": {"last": 2, "lr": 0.0005, "batch_norm_batches": 4},
            },
        ],
        "training": {"precision": "fp32", "checkpoint_every": 1},
    }  # fmt: skip
    return parse(CxrExperiment, {**tree, **changes}, "test")
