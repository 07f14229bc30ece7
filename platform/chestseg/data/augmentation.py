"""Augmentation of radiographs after 2ST-UNet: one flip, one intensity change, one distortion, one rigid motion, each by chance."""

import os

import cv2
import numpy as np

# albumentations asks the network for a newer release when imported unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A


class Augmentation:
    """Random transforms whose draws come from one seed a case, so that order, workers and restarts leave them unchanged.

    `strength` 1 is the paper's as reconstructed from its authors' code (flip 0.5; contrast, gamma or brightness 0.3; elastic, grid
    or optical distortion 0.3; shift 0.2, scale 0.2, rotation 20 degrees); it scales magnitudes and chances together.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.transform = _compose(strength) if strength else None

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Transform a uint8 image and its uint8 mask, both (H, W), alike; `seed` decides all draws."""
        if self.transform is None:
            return image, mask
        self.transform.set_random_seed(seed % 2**32)
        done = self.transform(image=np.ascontiguousarray(image), mask=np.ascontiguousarray(mask))
        return done["image"], done["mask"]


def _compose(strength: float) -> A.Compose:
    def chance(p: float) -> float:
        return min(1.0, p * strength)

    limit = 0.2 * strength
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.OneOf(
                [
                    A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=limit, p=1),
                    A.RandomGamma(gamma_limit=(100 - 100 * limit, 100 + 100 * limit), p=1),
                    A.RandomBrightnessContrast(brightness_limit=limit, contrast_limit=0, p=1),
                ],
                p=chance(0.3),
            ),
            A.OneOf(
                [
                    A.ElasticTransform(alpha=120 * strength, sigma=120 * 0.07, border_mode=cv2.BORDER_CONSTANT, p=1),
                    A.GridDistortion(distort_limit=0.3 * strength, border_mode=cv2.BORDER_CONSTANT, p=1),
                    A.OpticalDistortion(distort_limit=0.5 * strength, border_mode=cv2.BORDER_CONSTANT, p=1),
                ],
                p=chance(0.3),
            ),
            A.Affine(
                translate_percent=(-limit, limit),
                scale=(1 - limit, 1 + limit),
                rotate=(-20 * strength, 20 * strength),
                border_mode=cv2.BORDER_CONSTANT,
                p=chance(0.5),
            ),
        ]
    )
