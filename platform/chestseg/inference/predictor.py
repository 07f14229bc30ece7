"""The one way from image to mask: validation, evaluation, batch prediction and serving all take it."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from chestseg.bundle import Bundle
from chestseg.config import Postprocessing, VolumePostprocessing
from chestseg.inference import postprocess
from chestseg.models.allocator import keep_freed_memory
from chestseg.models.precision import Precision, autocast, compute_dtype
from chestseg.models.segmenter import Segmenter
from chestseg.preprocessing import Preprocessing, VolumePreprocessing


class LiveModel(NamedTuple):
    """A network in memory with what stands before and after it: a bundle that was not saved yet."""

    network: Segmenter
    preprocessing: Preprocessing | VolumePreprocessing
    postprocessing: Postprocessing | VolumePostprocessing


class Probabilities(NamedTuple):
    """A network's answer to one image."""

    mask: np.ndarray
    """(size, size) float32, 0..1."""
    disease: float | None
    """Of the empty-mask head, 0..1; None without one."""


@dataclass(frozen=True)
class Prediction:
    """What is said of one image."""

    mask: np.ndarray
    """uint8 of 0 and 1, at the source's size unless another was asked for."""
    probability: float
    """Of disease, 0..1: the empty-mask head's where there is one, else the highest of the map."""
    probabilities: np.ndarray
    """(size, size) float32 at the network's size."""

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def present(self) -> bool:
        """Whether the mask holds a pixel."""
        return self.area_px > 0


class Predictor:
    """Resize, normalise, network, sigmoid, mean over flips, post-processing.

    On a CPU equal calls give equal bits. An image alone and in a batch may differ by rounding: probabilities by up to 1e-4 in
    float32; bfloat16 keeps eight bits, where steep edges of a map may move by several hundredths.

    Args:
        source: a bundle, or a network in memory, which stays on its device and gets back its training mode after each call.
        device: where a bundle's network goes: `auto` (the GPU if there is one, else the CPU) or a name such as `cpu`, `cuda:1`.
        precision: `auto` (bf16 where the hardware computes in it), `bf16` or `fp32`.
        batch: images the network takes at once.

    Raises:
        ValueError: no such device, or a bundle whose weights do not fit.
    """

    def __init__(self, source: Bundle | LiveModel, *, device: str = "auto", precision: Precision = "auto", batch: int = 8) -> None:
        if isinstance(source, Bundle):
            network = source.build_model().to(find_device(device)).to(memory_format=torch.channels_last)
            source = LiveModel(network, source.spec.preprocessing, source.spec.postprocessing)
        self.network, preprocessing, rule = source
        assert isinstance(preprocessing, Preprocessing) and isinstance(rule, Postprocessing), "a model of volumes"
        self.preprocessing, self.postprocessing = preprocessing, rule
        self.device = next(self.network.parameters()).device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.dtype = compute_dtype(precision, self.device)
        self.batch = batch

    @property
    def size(self) -> int:
        """Edge in pixels of the square the network sees."""
        return self.preprocessing.size

    def predict(
        self, images: Sequence[np.ndarray], size: tuple[int, int] | None = None, shown_mm2: Sequence[float | None] | None = None
    ) -> list[Prediction]:
        """Segment images.

        Args:
            images: uint8 (H, W) each, bright = dense, of any sizes.
            size: (rows, columns) of the masks; each image's own when None.
            shown_mm2: square millimetres of the patient on each image, see `postprocess.image_mm2`, for a minimum area in mm²; without
                them it counts in pixels.

        Raises:
            ValueError: an image of another type or shape.
        """
        found = self.probabilities(images)
        shown = shown_mm2 or [None] * len(images)
        return [self.finish(answer, size or image.shape, mm2) for answer, image, mm2 in zip(found, images, shown, strict=True)]

    def probabilities(self, images: Sequence[np.ndarray]) -> list[Probabilities]:
        """Maps at the network's size, before post-processing; images as for `predict`."""
        for image in images:
            if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
                raise ValueError(f"an image of shape {image.shape} and type {image.dtype}: give uint8 arrays of (height, width)")
        answers: list[Probabilities] = []
        for start in range(0, len(images), self.batch):
            resized = [self.preprocessing.resize(image) for image in images[start : start + self.batch]]
            answers += self._forward(np.stack(resized))
        return answers

    def finish(self, answer: Probabilities, size: tuple[int, ...], shown_mm2: float | None = None) -> Prediction:
        """What post-processing makes of one answer of `probabilities`, its mask of `size` (rows, columns); `predict` is both in one."""
        mask = postprocess.apply(answer.mask, answer.disease, self.postprocessing, (size[0], size[1]), shown_mm2)
        probability = float(answer.mask.max()) if answer.disease is None else answer.disease
        return Prediction(mask, probability, answer.mask)

    @torch.inference_mode()
    def _forward(self, images: np.ndarray) -> list[Probabilities]:
        """Images (B, size, size) uint8."""
        inputs = self.preprocessing.normalise(torch.from_numpy(images)[:, None].to(self.device))
        inputs = inputs.to(memory_format=torch.channels_last)
        with evaluating(self.network):
            mask, disease = self._once(inputs)
            if self.postprocessing.flip_tta:
                mirrored, again = self._once(inputs.flip(-1))
                mask = (mask + mirrored.flip(-1)) / 2
                disease = None if disease is None or again is None else (disease + again) / 2
        if not torch.isfinite(mask).all():
            raise ValueError("the network answers with numbers that are not finite: its training diverged; use an earlier bundle")
        diseases = [None] * len(images) if disease is None else disease.tolist()
        return [Probabilities(m, d) for m, d in zip(mask[:, 0].cpu().numpy(), diseases, strict=True)]

    def _once(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Probabilities float32 (B, 1, size, size), and (B,) of the empty-mask head."""
        with autocast(self.device, self.dtype):
            logits = self.network(inputs)
        return logits.mask.float().sigmoid(), None if logits.disease is None else logits.disease.float().sigmoid()


def find_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the GPU if there is one, else the CPU.

    Raises:
        ValueError: PyTorch knows no such device, or sees none here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r}: give auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r}: give auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: PyTorch sees {torch.cuda.device_count()} GPUs here: give auto or cpu")
    return device


@contextlib.contextmanager
def evaluating(network: Segmenter) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode after: frozen batch norms stay frozen in a training that validates."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
