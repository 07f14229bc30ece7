"""What benchmarks of serving are given: a bundle of random weights to serve, and generated radiographs to send."""

from pathlib import Path

import torch

from chestseg import __version__
from chestseg.bundle import BundleSpec, save_bundle
from chestseg.config import Postprocessing, UNet2DModel
from chestseg.inference.golden import make_golden
from chestseg.models.registry import build_model
from chestseg.phantoms.radiograph.make import make_phantom
from chestseg.phantoms.radiograph.siim import write_case
from chestseg.preprocessing import Preprocessing

FILES = 16


def radiographs(work: Path) -> list[Path]:
    """Generated DICOM files as SIIM-ACR's are."""
    folder = work / "files"
    if not folder.exists():
        for number in range(FILES):
            write_case(folder, 0, number)
    return sorted(folder.rglob("*.dcm"))


def make_bundle(folder: Path, size: int, encoder: str = "resnet34", seed: int = 0) -> Path:
    """Random weights, whose batch norms have seen noise: time does not depend on what was learned."""
    if folder.exists():
        return folder
    model = UNet2DModel(encoder=encoder, weights="none", empty_head=True)
    torch.manual_seed(seed)
    network = build_model(model, pretrained=False).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 1, size, size))
    spec = BundleSpec(
        name="benchmark",
        track="cxr",
        code_version=__version__,
        model=model,
        preprocessing=Preprocessing(size=size),
        postprocessing=Postprocessing(threshold=0.5),
        metrics={},
        dataset_hash="0" * 16,
        experiment={},
    )
    weights = network.state_dict()
    image, _ = make_phantom(0, size)
    return save_bundle(folder, spec, weights, make_golden(spec, weights, image)).folder
