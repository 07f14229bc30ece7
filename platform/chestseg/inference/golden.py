"""The golden case: proof that a bundle still answers on this machine what it answered where it was made."""

import numpy as np
import torch

from chestseg.bundle import Bundle, BundleSpec, GoldenCase, build_network
from chestseg.inference.predictor import LiveModel, Predictor
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.models.segmenter import Segmenter
from chestseg.preprocessing import VolumePreprocessing

TOLERANCE = 1e-3
"""Rounding of float32 differs among processors by far less; another network or preprocessing by far more."""


def make_golden(spec: BundleSpec, weights: dict[str, torch.Tensor], image: np.ndarray, tolerance: float = TOLERANCE) -> GoldenCase:
    """The answer that a bundle of `spec` and `weights` gives to a generated image, for `save_bundle`.

    Args:
        spec: the bundle's description.
        weights: the network's state dict.
        image: uint8 of a phantom, never of a patient: the bundle travels. A radiograph (H, W) of any size, or a volume (D, H, W) as
            `VolumePredictor.segment` takes it.
        tolerance: largest difference of a probability that passes.
    """
    network = build_network(spec.model, weights, spec.name, spec.members)
    return GoldenCase(image, _answer(network, spec, image), tolerance)


def check_golden(bundle: Bundle) -> float:
    """Repeat the golden case in float32 on the CPU, whatever device will serve.

    Returns:
        The largest difference of a probability.

    Raises:
        ValueError: the bundle carries no golden case, or its answer is another one.
    """
    golden = bundle.golden()
    if golden is None:
        raise ValueError(f"{bundle.folder}: carries no golden case: save it again with one")
    found = _answer(bundle.build_model(), bundle.spec, golden.image)
    if found.shape != golden.probabilities.shape:
        raise ValueError(
            f"{bundle.folder}: answers at {found.shape}, its golden case is of {golden.probabilities.shape}: save the bundle again"
        )
    difference = float(np.abs(found - golden.probabilities).max())
    if not difference <= golden.tolerance:
        raise ValueError(
            f"{bundle.folder}: the answer to its golden case is off by {difference:.3g}, more than {golden.tolerance:g}: "
            f"install the chestseg that made it ({bundle.spec.code_version}) with the versions of its constraints.txt"
        )
    return difference


def _answer(network: Segmenter, spec: BundleSpec, image: np.ndarray) -> np.ndarray:
    model = LiveModel(network, spec.preprocessing, spec.postprocessing)
    if isinstance(spec.preprocessing, VolumePreprocessing):
        return VolumePredictor(model, precision="fp32").probabilities(image)
    return Predictor(model, precision="fp32").probabilities([image])[0].mask
