"""A large CT beside radiographs: the memory its replica takes, and what a second user's radiographs wait for meanwhile.

`python -m benchmarks.serving_neighbours [--memory-gb 4]`. Both apps run on one machine, each replica of a model with one thread. One
caller sends a radiograph (DICOM, 1024x1024, a U-Net over ResNet-34 at 256 pixels, float32) after the other: alone, while a volume of
512x512x300 is segmented (a U-Net over MobileNetV2 that sees slices with their neighbours, 2.5 x 1.5 x 1.5 mm), and alone again. The peak
is the kernel's own (VmHWM) of the replica's whole process, Python and libraries included.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from benchmarks.serving_apps import serving
from benchmarks.serving_given import make_bundle, radiographs

from chestseg import __version__
from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import BundleSpec, save_bundle
from chestseg.config import SliceUNetModel, VolumePostprocessing
from chestseg.inference.golden import make_golden
from chestseg.models.registry import build_model
from chestseg.nifti import write_nifti
from chestseg.preprocessing import VolumePreprocessing
from tests.inference.tiny_volume import chest

SHAPE, SPACING = (300, 512, 512), (1.0, 0.7, 0.7)
ALONE = 40
KILOBYTES = 1024


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory-gb", type=float, default=4.0, help="the CT replica's limit")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chestseg-neighbours-") as folder:
        work = Path(folder)
        compute = {"device": "cpu", "precision": "fp32", "cpus": 0.5, "threads": 1}
        files = [path.read_bytes() for path in radiographs(work)[:4]]
        jobs = {"store": f"sqlite:///{work}/jobs.db", "folder": str(work / "jobs")}
        settings: dict[str, dict[str, Any]] = {
            "cxr": {"model": str(make_bundle(work / "cxr", 256)), "compute": compute},
            "ct": {"model": str(volume_bundle(work / "ct")), "compute": compute, "memory_gb": chosen.memory_gb, "jobs": jobs},
        }
        scan = large_scan(work)
        with serving(settings, work) as apps, httpx.Client(base_url=apps.url, timeout=600, trust_env=False) as http:
            [replica] = apps.replicas("ct:VolumeSegmenter")
            ask_until(http, files, 10)
            idle, before = peak_gb(replica), ask_until(http, files, ALONE)
            start = time.monotonic()
            place = http.post("/ct/v1/jobs", content=scan).headers["Location"]
            meanwhile, tiles = [], 0
            while (job := http.get(place).json())["state"] in ("queued", "running"):
                answered = ask_until(http, files, 1)
                # While it is read and written it has no tiles; that counts, too.
                meanwhile += answered
                tiles = max(tiles, job["tiles"]["of"])
            took = time.monotonic() - start
            after = ask_until(http, files, ALONE)
            print(f"volume of {'x'.join(map(str, SHAPE))}: {job['state']} after {took:.0f} s, {tiles} tiles; replica's peak", end=" ")
            print(f"{peak_gb(replica):.2f} GB of {chosen.memory_gb:g} ({idle:.2f} before)")
    usual = statistics.median(before + after)
    for name, times in (("alone, before", before), ("meanwhile", meanwhile), ("alone, after", after)):
        p50, p90 = np.percentile(times, [50, 90])
        print(f"radiographs {name}: {len(times)}, median {p50 * 1000:.0f} ms, p90 {p90 * 1000:.0f} ms, {p50 / usual:.2f} of usual")


def ask_until(http: httpx.Client, files: list[bytes], count: int) -> list[float]:
    """Seconds of each of so many radiographs, one after the other."""
    took = []
    for number in range(count):
        start = time.perf_counter()
        answer = http.post("/cxr/v1/segment", content=files[number % len(files)])
        took.append(time.perf_counter() - start)
        assert answer.status_code == 200, answer.text
    return took


def peak_gb(process: psutil.Process) -> float:
    """Most main memory that it ever had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * KILOBYTES / 1e9


def large_scan(work: Path) -> bytes:
    """A chest of boxes with noise, as NIfTI."""
    boxes, _, _ = chest()
    places = [np.linspace(0, n - 1, m).round().astype(int) for n, m in zip(boxes.shape, SHAPE, strict=True)]
    values = boxes[np.ix_(*places)] + np.random.default_rng(0).integers(-20, 20, SHAPE, dtype=np.int16)
    write_nifti(work / "scan.nii.gz", Volume(values.astype(np.int16), Grid.upright(SHAPE, SPACING)))
    return (work / "scan.nii.gz").read_bytes()


def volume_bundle(folder: Path) -> Path:
    """Random weights, whose batch norms have seen noise."""
    model, patch = SliceUNetModel(encoder="mobilenet_v2", weights="none"), (16, 96, 96)
    before = VolumePreprocessing(spacing=(2.5, 1.5, 1.5), window=(-1000.0, 400.0), patch=patch)
    torch.manual_seed(0)
    network = build_model(model, pretrained=False).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(1, 1, *patch))
    spec = BundleSpec(
        name="benchmark",
        track="ct",
        code_version=__version__,
        model=model,
        preprocessing=before,
        postprocessing=VolumePostprocessing(),
        labels=("infiltrate",),
        metrics={},
        dataset_hash="0" * 16,
        experiment={},
    )
    weights = network.state_dict()
    golden = make_golden(spec, weights, before.to_uint8(chest()[0])[:16])
    return save_bundle(folder, spec, weights, golden).folder


if __name__ == "__main__":
    main()
