"""What a network is shown of a case in training: a whole radiograph or a patch of a volume, augmented."""

from typing import Any, Protocol

import numpy as np

from chestseg.config import RadiographStage, Stage, VolumeStage
from chestseg.data.augmentation import Augmentation
from chestseg.data.patches import PatchExamples


class Examples(Protocol):
    """Cases by index, all draws decided by a seed."""

    shape: tuple[int, ...]
    """Spatial shape of every example."""

    def __call__(self, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask (0 or 1), uint8 of `shape`."""
        ...


class RadiographArrays(Protocol):
    """Where radiographs come from: `PreparedRadiographs`, or arrays in memory."""

    def image(self, index: int, size: int) -> np.ndarray:
        """(size, size) uint8."""
        ...

    def mask(self, index: int, size: int) -> np.ndarray:
        """(size, size) uint8, 0 or 1."""
        ...


class RadiographExamples:
    """Whole radiographs at a stage's size."""

    def __init__(self, arrays: RadiographArrays, stage: RadiographStage) -> None:
        self.arrays, self.size = arrays, stage.size
        self.shape = (stage.size, stage.size)
        self.augmentation = Augmentation(stage.augmentation)

    def __call__(self, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask of a case, augmented alike."""
        return self.augmentation(self.arrays.image(index, self.size), self.arrays.mask(index, self.size), seed)


def examples_of(arrays: Any, stage: Stage) -> Examples:
    """The examples of a stage, from arrays of its kind."""
    match stage:
        case VolumeStage():
            return PatchExamples(arrays, stage)
        case RadiographStage():
            return RadiographExamples(arrays, stage)
    raise AssertionError(type(stage))
