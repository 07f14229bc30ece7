"""Deterministic preprocessing of radiographs: the same few lines stand before training, evaluation and serving."""

import numpy as np
import torch
from pydantic import Field

from chestseg.arrays.resize import resize_image
from chestseg.config import Strict


class Preprocessing(Strict):
    """Square resize and normalisation; travels in the bundle.

    The defaults are the channel means of ImageNet's statistics, since the pretrained stem is summed to one channel.
    """

    size: int = Field(gt=0, multiple_of=32)
    mean: float = Field(default=0.449, ge=0, le=1)
    std: float = Field(default=0.226, gt=0)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W) to uint8 (size, size); the aspect ratio is not kept."""
        return resize_image(image, self.size)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 of any shape to float32 of the same shape, zero mean and unit variance over ImageNet."""
        return images.float().mul_(1 / (255 * self.std)).sub_(self.mean / self.std)
