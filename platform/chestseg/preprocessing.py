"""Deterministic preprocessing: the same few lines stand before training, evaluation and serving."""

import numpy as np
import torch
from pydantic import Field

from chestseg.arrays.resize import resize_image
from chestseg.arrays.window import to_grey
from chestseg.config import Data, RadiographStage, Spacing, Stage, Strict, Triple, VolumeData, VolumeStage

BLACK, WHITE = 0, 255


class Normalisation(Strict):
    """Mean and standard deviation, of grey levels scaled to 0..1, that the network's input is freed of.

    The defaults are the channel means of ImageNet's statistics, since the pretrained stem is summed to one channel.
    """

    mean: float = Field(default=0.449, ge=0, le=1)
    std: float = Field(default=0.226, gt=0)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 of any shape to float32 of the same shape, zero mean and unit variance over ImageNet."""
        return images.float().mul_(1 / (WHITE * self.std)).sub_(self.mean / self.std)


class Preprocessing(Normalisation):
    """Of radiographs: square resize and normalisation; travels in the bundle."""

    size: int = Field(gt=0, multiple_of=32)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W) to uint8 (size, size); the aspect ratio is not kept."""
        return resize_image(image, self.size)


class VolumePreprocessing(Normalisation):
    """Of volumes: a window of HU, the spacing the network sees, and the patch it sees at once; travels in the bundle.

    The defaults are the means of Kinetics-400's channel statistics, for the same reason.
    """

    mean: float = Field(default=0.395, ge=0, le=1)
    std: float = Field(default=0.222, gt=0)
    spacing: Spacing
    window: tuple[float, float]
    patch: Triple

    def to_uint8(self, hu: np.ndarray) -> np.ndarray:
        """HU of any shape and type to grey levels 0..255 of the window."""
        return to_grey(hu, self.window)


def preprocessing_of(stage: Stage, data: Data) -> Preprocessing | VolumePreprocessing:
    """What stands before the network in a stage, whose cases are prepared as `data` says."""
    match stage, data:
        case RadiographStage(), _:
            return Preprocessing(size=stage.size)
        case VolumeStage(), VolumeData():
            return VolumePreprocessing(spacing=stage.spacing, window=data.window, patch=stage.patch)
    raise AssertionError((type(stage), type(data)))
