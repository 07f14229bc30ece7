"""Six small generated volumes with the interface of a prepared dataset."""

import numpy as np

from chestseg.config import CtExperiment, Experiment, Spacing, parse
from tests.training.folds_in_memory import FoldsInMemory

COARSE, FINE = (4.0, 2.0, 2.0), (4.0, 1.0, 1.0)


class VolumesInMemory(FoldsInMemory):
    """Boxes in noise: all but every third volume have one, volumes 0 and 1 are fold 0."""

    hash = "generated"
    spacings = (FINE, COARSE)
    window = (-1000.0, 400.0)

    def __init__(self, count: int = 6) -> None:
        draw = np.random.default_rng(7)
        self.positive = np.arange(count) % 3 != 2
        self.fold = np.arange(count) // 2
        self.arrays: dict[tuple[int, Spacing], tuple[np.ndarray, np.ndarray]] = {}
        for case in range(count):
            image = draw.integers(0, 60, (6 + case, 48, 40), dtype=np.uint8)
            mask = np.zeros_like(image)
            if self.positive[case]:
                z, y, x = draw.integers((1, 8, 8), (4, 28, 20))
                mask[z : z + 2, y : y + 12, x : x + 12] = 1
            image += mask * 120
            self.arrays[case, FINE] = image, mask
            self.arrays[case, COARSE] = np.ascontiguousarray(image[:, ::2, ::2]), np.ascontiguousarray(mask[:, ::2, ::2])

    def image(self, index: int, spacing: Spacing) -> np.ndarray:
        return self.arrays[index, spacing][0]

    def mask(self, index: int, spacing: Spacing) -> np.ndarray:
        return self.arrays[index, spacing][1]

    def foreground(self, index: int, spacing: Spacing) -> np.ndarray:
        return np.argwhere(self.mask(index, spacing)).astype(np.int32)


def small_ct_experiment(**changes: object) -> Experiment:
    """Two stages of a few steps each, coarse and fine, with SWA and batch norm of small micro-batches."""
    tree = {
        "name": "small-ct",
        "track": "ct",
        "seed": 3,
        "data": {"sources": [{"reader": "nnunet", "path": "x"}], "prepared": "x", "spacings": [FINE, COARSE], "folds": 3},
        "model": {"architecture": "slice_unet", "encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4]},
        "stages": [
            {"spacing": COARSE, "patch": [2, 32, 32], "epochs": 2, "batch": 4, "micro_batch": 2, "cases_per_epoch": 8, "positives": 0.75},
            {
                "spacing": FINE, "patch": [4, 32, 32], "epochs": 3, "batch": 4, "micro_batch": 2, "cases_per_epoch": 8,
                "loss": {"tversky": 1.0, "dice": 0.0}, "swa": {"last": 2, "lr": 0.0005, "batch_norm_batches": 4},
            },
        ],
        "training": {"precision": "fp32", "checkpoint_every": 1},
    }  # fmt: skip
    return parse(CtExperiment, {**tree, **changes}, "test")
