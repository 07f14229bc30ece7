"""Our sliding window against MONAI's `sliding_window_inference`: the same network, volume, patch and precision in one run.

    python -m benchmarks.sliding_window [--data ../shared/data] [--steps 300] [--repeats 5] [--precision auto]

Asked: with the same overlap at least as fast, with at most its peak memory; our defaults against its documented example for this very
task (`3d_segmentation/challenge_baseline/run_net.py` of its tutorials: patch 192x192x16, two at once, overlap 0.5, Gaussian) at least
1.5x, with a Dice within 0.005; a volume of 512x512x600 within 4 GB.

The network is a small 3D U-Net, trained for a while on MedSegCovid so that there is a Dice to compare: short nets show overheads that a
large one would hide. The lung restriction is shown beside the defaults. Memory is that of processes of their own.
"""

import argparse
import functools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from benchmarks.sides import in_turn, table
from torch import nn
from tqdm import tqdm

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.config import Triple, UNet3DModel, VolumePostprocessing
from chestseg.inference.lungs import find_chest
from chestseg.inference.predictor import LiveModel
from chestseg.inference.sliding_window import slide
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.models.logits import Logits
from chestseg.models.precision import Precision, autocast, compute_dtype
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter
from chestseg.nifti import read_nifti, read_nifti_labels
from chestseg.preprocessing import VolumePreprocessing

CPU = torch.device("cpu")
PATCH: Triple = (16, 192, 192)
BATCH = 2
SAME_OVERLAP, MONAI_OVERLAP = 0.25, 0.5
OURS = VolumePostprocessing()
TEST = "medseg_001"
TRAIN = ("medseg_002", "medseg_003", "medseg_004")
MEMORY_SHAPE: Triple = (160, 384, 384)
LARGE_SHAPE: Triple = (600, 512, 512)
PEAK = "peak"


class SmallUNet(Segmenter):
    """Three levels of two convolutions; slices are never merged."""

    def __init__(self, channels: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        self.down = nn.ModuleList(self._pair(a, b) for a, b in zip((1, *channels), channels, strict=False))
        self.up = nn.ModuleList(self._pair(a + b, a) for a, b in zip(channels[-2::-1], channels[:0:-1], strict=True))
        self.head = nn.Conv3d(channels[0], 1, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int) -> nn.Sequential:
        def one(n: int) -> list[nn.Module]:
            return [nn.Conv3d(n, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)]

        return nn.Sequential(*one(inputs), *one(outputs))

    @property
    def encoder(self) -> nn.Module:
        """The way down."""
        return self.down

    def forward(self, images: torch.Tensor) -> Logits:
        """(B, 1, D, H, W) to logits of the same shape."""
        skips = []
        for level in self.down:
            images = level(F.max_pool3d(images, (1, 2, 2)) if skips else images)
            skips.append(images)
        images = skips.pop()
        for level in self.up:
            images = level(torch.cat([skips[-1], F.interpolate(images, skips.pop().shape[2:])], 1))
        return Logits(self.head(images), None)


def read_case(data: Path, name: str) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Grey levels, mask and spacing in canonical order."""
    folder = data / "Dataset102_MedSegCovid"
    image = read_nifti(folder / "imagesTr" / f"{name}_0000.nii.gz").canonical()
    truth = read_nifti_labels(folder / "labelsTr" / f"{name}.nii.gz").canonical()
    return image.values, (truth.values > 0).astype(np.uint8), image.grid.spacing


def train(network: Segmenter, pre: VolumePreprocessing, data: Path, steps: int) -> None:
    """A few hundred patches, most of them around an infiltrate."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    cases = [(pre.to_uint8(hu), truth, np.argwhere(truth)) for hu, truth, _ in (read_case(data, name) for name in TRAIN)]
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    size = np.array((16, 96, 96))
    for _ in tqdm(range(steps), desc="train", unit="patch"):
        image, truth, inside = cases[random.integers(len(cases))]
        room = np.array(image.shape) - size
        middle = inside[random.integers(len(inside))] if random.random() < 0.7 else random.integers(0, image.shape)
        place = tuple(slice(s, s + n) for s, n in zip(np.clip(middle - random.integers(0, size), 0, room), size, strict=True))
        target = torch.from_numpy(truth[place].copy())[None, None].float()
        with autocast(CPU, torch.bfloat16):
            logits = network(pre.normalise(torch.from_numpy(image[place].copy())[None, None])).mask.float()
        both = (logits.sigmoid() * target).sum()
        loss = F.binary_cross_entropy_with_logits(logits, target) + 1 - 2 * both / (logits.sigmoid().sum() + target.sum() + 1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()


class Sides:
    """The ways to one map of probabilities, uint8 (D, H, W) in, float32 out."""

    def __init__(self, network: Segmenter, pre: VolumePreprocessing, precision: Precision) -> None:
        self.network, self.pre, self.dtype = network, pre, compute_dtype(precision, CPU)

    def _probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        with autocast(CPU, self.dtype):
            logits = self.network(inputs).mask
        return logits.float().sigmoid()

    def ours(self, image: np.ndarray, overlap: float, restrict: str = "") -> np.ndarray:
        """`restrict`: nothing, `body` (the default of a prediction) or `lungs`; finding them is part of the time."""
        wanted = None
        if restrict:
            chest = find_chest(image, self.pre.spacing, self.pre.window)
            wanted = chest.drawn(getattr(chest, restrict))
        return slide(image, PATCH, overlap, lambda patches: self._probabilities(self.pre.normalise(patches)), BATCH, wanted)

    def monai(self, image: np.ndarray, overlap: float) -> np.ndarray:
        """It takes floats: normalised once."""
        from monai.inferers.utils import sliding_window_inference

        inputs = self.pre.normalise(torch.from_numpy(image)[None, None])
        answer = sliding_window_inference(
            inputs, PATCH, BATCH, self._probabilities, overlap=overlap, mode="gaussian", padding_mode="replicate"
        )
        assert isinstance(answer, torch.Tensor)
        return answer[0, 0].numpy()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks."""
    return float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))


def timed(run: Callable[[], np.ndarray], found: dict[str, np.ndarray], name: str, clock: Callable[[], float]) -> float:
    """Volumes a minute."""
    start = clock()
    found[name] = run()
    return 60 / (clock() - start)


def phantom(shape: Triple) -> np.ndarray:
    """HU int16: a cylinder with two lungs of air and noise; enough to be slid over."""
    y, x = np.mgrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    plane = np.where((y / 0.7) ** 2 + (x / 0.9) ** 2 < 1, 40, -1000)
    plane[((y / 0.45) ** 2 + ((abs(x) - 0.42) / 0.3) ** 2) < 1] = -850
    noise = np.random.default_rng(0).integers(-60, 60, plane.shape)
    return np.broadcast_to((plane + noise).astype(np.int16), shape).copy()


def measure_peak(side: str, precision: Precision) -> None:
    """In a process of its own: print how far its memory rose over what it held before, and its whole peak, in MB."""
    torch.manual_seed(0)
    spacing = (0.6, 0.7, 0.7)
    pre = VolumePreprocessing(spacing=spacing, window=(-1000, 400), patch=PATCH)
    coarse, large = side == "large-coarse", side.startswith("large")
    network = build_model(UNet3DModel(weights="none")) if coarse else SmallUNet((4, 8))
    sides = Sides(network.to(memory_format=torch.channels_last_3d).eval(), pre, precision)  # type: ignore[call-overload]
    hu = phantom(LARGE_SHAPE if large else MEMORY_SHAPE)
    image = np.empty(0, np.uint8) if large else pre.to_uint8(hu)
    with torch.inference_mode():
        if not large:
            # Libraries and what the network's first answer leaves behind belong to neither side.
            sides.monai(image[: PATCH[0]], 0)
        before = psutil.Process().memory_info().rss
        if large:
            # At the source's own spacing the arrays are as large as they get; over R3D-18 the network's share is.
            pre = pre.model_copy(update={"spacing": (5.0, 1.25, 1.25)}) if coarse else pre
            predictor = VolumePredictor(LiveModel(sides.network, pre, VolumePostprocessing(min_lesion_ml=0.1)), precision=precision)
            predictor.predict(Volume(hu, Grid.upright(hu.shape, spacing)))  # type: ignore[arg-type]
        else:
            {"ours": sides.ours, "MONAI": sides.monai}[side](image, SAME_OVERLAP)
    # Not getrusage's: that one starts at the peak of whoever started this process.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    whole = int(line.split()[1]) * 1024
    print(PEAK, (whole - before) / 1e6, whole / 1e6)


def peak(side: str, precision: str) -> tuple[float, float]:
    """Growth and peak in MB of `side` in a new process."""
    command = [sys.executable, "-m", "benchmarks.sliding_window", "--peak", side, "--precision", precision]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    growth, whole = output.rpartition(PEAK)[2].split()
    return float(growth), float(whole)


def main() -> None:
    """Measure speed and Dice, then memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=300, help="of the network's training")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="count the processor's time, where others keep the machine busy")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.peak:
        measure_peak(told.peak, told.precision)
        return
    hu, truth, spacing = read_case(told.data, TEST)
    pre = VolumePreprocessing(spacing=spacing, window=(-1000, 400), patch=PATCH)
    network = SmallUNet().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    train(network, pre, told.data, told.steps)
    sides, image, found = Sides(network, pre, told.precision), pre.to_uint8(hu), {}
    ways: dict[str, Callable[[], np.ndarray]] = {
        "MONAI, overlap 0.25": functools.partial(sides.monai, image, SAME_OVERLAP),
        "ours, overlap 0.25, everywhere": functools.partial(sides.ours, image, SAME_OVERLAP),
        "MONAI's example": functools.partial(sides.monai, image, MONAI_OVERLAP),
        "our defaults": functools.partial(sides.ours, image, OURS.overlap, "body"),
        "lungs only": functools.partial(sides.ours, image, OURS.overlap, "lungs"),
    }
    with torch.inference_mode():
        clock = time.process_time if told.cpu_time else time.perf_counter
        figures = in_turn({name: functools.partial(timed, run, found, name, clock) for name, run in ways.items()}, told.repeats)
    for reference, names in (("MONAI, overlap 0.25", list(ways)[:2]), ("MONAI's example", list(ways)[2:])):
        print(f"\n{table({name: figures[name] for name in names}, 'volumes/min', reference)}")
    print("\nDice: " + ", ".join(f"{name} {dice(answer >= 0.5, truth > 0):.4f}" for name, answer in found.items()))
    print(f"\nMemory, {'x'.join(map(str, MEMORY_SHAPE))}, growth: ", end="", flush=True)
    print(", ".join(f"{side} {peak(side, told.precision)[0]:.0f} MB" for side in ("ours", "MONAI")), flush=True)
    for side in ("large-fine", "large-coarse"):
        print(f"512x512x600, {side}: whole process {peak(side, told.precision)[1]:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
