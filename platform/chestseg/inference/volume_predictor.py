"""The one way from volume to mask: evaluation, batch prediction and serving all take it."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from chestseg.arrays.grid import MM3_PER_ML
from chestseg.arrays.resample import resample_image, resampled_slices, shape_at
from chestseg.arrays.volume import Volume, restore
from chestseg.bundle import Bundle
from chestseg.config import Spacing, Triple, VolumePostprocessing
from chestseg.inference.lesions import remove_small
from chestseg.inference.lungs import Chest, find_chest
from chestseg.inference.memory import batch_that_fits
from chestseg.inference.predictor import LiveModel, evaluating, find_device
from chestseg.inference.sliding_window import Progress, slabs
from chestseg.models.precision import Precision, autocast, compute_dtype
from chestseg.preprocessing import VolumePreprocessing


@dataclass(frozen=True)
class VolumePrediction:
    """What is said of one volume."""

    mask: np.ndarray
    """uint8 of 0 and 1 on the volume's own grid, in its own order of axes."""
    probability: float
    """The highest of any voxel, 0..1."""
    volume_ml: float
    """Of the mask."""
    lung_ml: float | None
    """Of the lungs: air spaces and infiltrates, without the larger vessels; None where no lungs were found."""

    @property
    def present(self) -> bool:
        """Whether the mask holds a voxel."""
        return self.volume_ml > 0


class VolumePredictor:
    """Canonical order, window, resampling, sliding window, sigmoid, mean over mirrors, threshold on the source's grid, small lesions.

    Only the body is looked at, or the lungs where the bundle says `lungs_only` and lungs are found. On a CPU equal calls give equal
    bits.

    Args:
        source: a bundle, or a network in memory, which stays on its device and gets back its training mode after each call.
        device: where a bundle's network goes: `auto` (the GPU if there is one, else the CPU) or a name such as `cpu`, `cuda:1`.
        precision: `auto` (bf16 where the hardware computes in it), `bf16` or `fp32`.
        batch: patches the network takes at once; fewer where memory asks for it.
        memory_gb: gigabytes of main memory for the whole process, with all it holds already.

    Raises:
        ValueError: no such device, or a bundle whose weights do not fit.
    """

    def __init__(
        self, source: Bundle | LiveModel, *, device: str = "auto", precision: Precision = "auto", batch: int = 2, memory_gb: float = 4.0
    ) -> None:
        if isinstance(source, Bundle):
            network = source.build_model().to(find_device(device))
            network = network.to(memory_format=network.layout)  # type: ignore[call-overload]
            source = LiveModel(network, source.spec.preprocessing, source.spec.postprocessing)
        self.network, preprocessing, rule = source
        assert isinstance(preprocessing, VolumePreprocessing) and isinstance(rule, VolumePostprocessing), "a bundle of radiographs"
        self.preprocessing, self.postprocessing = preprocessing, rule
        self.device = next(self.network.parameters()).device
        self.dtype = compute_dtype(precision, self.device)
        self.batch, self.memory_gb = batch, memory_gb

    def predict(self, volume: Volume, progress: Progress | None = None) -> VolumePrediction:
        """Segment a volume of HU, of any orientation and spacing.

        Raises:
            ValueError: the volume does not fit `memory_gb`, or the network's answer is not finite.
        """
        grid = volume.grid.canonical()
        shape = shape_at(grid.shape, grid.spacing, self.preprocessing.spacing)
        batch = batch_that_fits(self.batch, self.preprocessing.patch, shape, grid.shape, self.memory_gb, on_cpu=self.device.type == "cpu")
        # Views of what was read: a copy of the HU would be the largest array of all.
        image = resample_image(self.preprocessing.to_uint8(volume.grid.reorientation().apply(volume.values)), shape)
        chest = self._chest(image)
        found = self._restricted(image, chest, batch, progress)
        del image
        lung_ml = self._lung_ml(found, chest)
        probability = float(found.max())
        mask = self._mask(found, grid.shape, grid.voxel_ml)
        del found
        return VolumePrediction(restore(mask, volume.grid), probability, int(np.count_nonzero(mask)) * grid.voxel_ml, lung_ml)

    def segment(self, image: np.ndarray, shape: Triple, spacing: Spacing) -> tuple[np.ndarray, float]:
        """Segment what was prepared: as `predict` does, from the image that it would make of the source.

        Args:
            image: uint8 (D, H, W), canonical, at the model's spacing and window.
            shape: voxels of the source in canonical order.
            spacing: mm between them.

        Returns:
            uint8 mask of 0 and 1 of `shape`, and the highest probability of any voxel.
        """
        found = self.restricted(image)
        return self._mask(found, shape, math.prod(spacing) / MM3_PER_ML), float(found.max())

    def restricted(self, image: np.ndarray) -> np.ndarray:
        """The map that `segment` cuts: of a whole image (D, H, W), 0 where the bundle says not to look; float16, 0..1."""
        return self._restricted(image, self._chest(image), self.batch)

    def _chest(self, image: np.ndarray) -> Chest:
        return find_chest(image, self.preprocessing.spacing, self.preprocessing.window)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """The map of a whole image (D, H, W) as for `segment`, before anything is restricted or cut: float32, 0..1."""
        return self._slide(image, None, np.empty(image.shape, np.float32), self.batch)

    def _restricted(self, image: np.ndarray, chest: Chest, batch: int, progress: Progress | None = None) -> np.ndarray:
        """The map where `chest` says to look and 0 elsewhere, in 16 bits, which tell probabilities apart to 0.0005."""
        where = chest.lungs if self.postprocessing.lungs_only and chest.lungs is not None else chest.body
        return self._slide(image, chest.drawn(where), np.empty(image.shape, np.float16), batch, progress)

    @torch.inference_mode()
    def _slide(
        self, image: np.ndarray, wanted: np.ndarray | None, found: np.ndarray, batch: int, progress: Progress | None = None
    ) -> np.ndarray:
        """Fill `found`."""
        top = 0
        with evaluating(self.network):
            for slab in slabs(image, self.preprocessing.patch, self.postprocessing.overlap, self._answer, batch, wanted, progress):
                if not np.isfinite(slab).all():
                    raise ValueError("the network answers with numbers that are not finite: its training diverged; use an earlier bundle")
                found[top : top + len(slab)] = slab
                top += len(slab)
        return found

    def _answer(self, patches: torch.Tensor) -> torch.Tensor:
        inputs = self.preprocessing.normalise(patches.to(self.device))
        found = self._once(inputs)
        return (found + self._once(inputs.flip(-1)).flip(-1)) / 2 if self.postprocessing.flip_tta else found

    def _once(self, inputs: torch.Tensor) -> torch.Tensor:
        """Probabilities float32 (B, 1, *patch)."""
        with autocast(self.device, self.dtype):
            logits = self.network(inputs).mask
        return logits.float().sigmoid()

    def _mask(self, found: np.ndarray, shape: Triple, voxel_ml: float) -> np.ndarray:
        mask = np.empty(shape, np.uint8)
        for target, plane in zip(mask, resampled_slices(found, shape), strict=True):
            np.greater_equal(plane, self.postprocessing.threshold, out=target, casting="unsafe")
        remove_small(mask, voxel_ml, self.postprocessing.min_lesion_ml)
        return mask

    def _lung_ml(self, found: np.ndarray, chest: Chest) -> float | None:
        if chest.lungs is None:
            return None
        air = chest.drawn(chest.air)
        lung = sum(np.count_nonzero(a | (f >= self.postprocessing.threshold)) for a, f in zip(air, found, strict=True))
        return lung * math.prod(self.preprocessing.spacing) / MM3_PER_ML
