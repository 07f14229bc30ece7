"""bf16 autocast with channels-last against fp32, training and inference of the ResNet-34 U-Net on this machine's CPU.

    python -m benchmarks.precision [--size 256] [--batch 4] [--repeats 5]

Asked where the CPU has AMX: at least 1.8x. The first line says what this CPU has.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks.sides import in_turn, table

from chestseg.config import UNet2DModel
from chestseg.models.precision import autocast
from chestseg.models.registry import build_model

CPU = torch.device("cpu")
WAYS = {"fp32": (torch.float32, torch.contiguous_format), "bf16 + channels-last": (torch.bfloat16, torch.channels_last)}


def training_step(dtype: torch.dtype, layout: torch.memory_format, size: int, batch: int) -> float:
    """Images/s of forward and backward, after one step that warms up."""
    network = build_model(UNet2DModel(weights="none")).to(memory_format=layout).train()  # type: ignore[call-overload]
    images = torch.randn(batch, 1, size, size).to(memory_format=layout)

    def step() -> None:
        with autocast(CPU, dtype):
            logits = network(images).mask
        logits.float().square().mean().backward()

    return _rate(step, batch)


def inference_step(dtype: torch.dtype, layout: torch.memory_format, size: int, batch: int) -> float:
    """Images/s of the forward pass alone."""
    network = build_model(UNet2DModel(weights="none")).to(memory_format=layout).eval()  # type: ignore[call-overload]
    images = torch.randn(batch, 1, size, size).to(memory_format=layout)

    def step() -> None:
        with torch.inference_mode(), autocast(CPU, dtype):
            network(images)

    return _rate(step, batch)


def _rate(step: Callable[[], None], batch: int) -> float:
    step()
    start = time.perf_counter()
    for _ in range(3):
        step()
    return 3 * batch / (time.perf_counter() - start)


def main() -> None:
    """Measure training and inference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    told = parser.parse_args()
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "") + " "
    print("CPU:", ", ".join(name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f" {name} " in flags))
    for title, measure in (("Training", training_step), ("Inference", inference_step)):
        sides = {name: lambda w=way, m=measure: m(*w, told.size, told.batch) for name, way in WAYS.items()}
        print(f"\n{title}, {told.size} px, batch {told.batch}")
        print(table(in_turn(sides, told.repeats), "images/s", "fp32"), flush=True)


if __name__ == "__main__":
    main()
