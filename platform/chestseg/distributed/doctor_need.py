"""What a config asks of a cluster, as far as it is known beforehand: places, resources, and estimates of memory and disk."""

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from chestseg.config import Experiment, Stage, Sweep, VolumeStage
from chestseg.config.location import absolute, inside, is_uri
from chestseg.data.prepared import MARKER
from chestseg.models.registry import build_model
from chestseg.tracking.environment import checked_uri
from chestseg.tuning.flops import shape_of, weight_bytes

COPIES = 4
"""Of the weights: themselves, their gradient, and two moments of AdamW."""
PROCESS = 1.2e9
"""Bytes of a worker before it has a network: Python, torch and Ray; 1.0e9 measured on CPU."""
LOADER = 0.7e9
"""Bytes of a loader process."""
CONTEXT = 1.0e9
"""Bytes of a GPU that CUDA and its libraries take."""


@dataclass(frozen=True)
class Need:
    """What the doctor compares a cluster with."""

    experiment: Experiment
    disk: int = 0
    """Bytes that a run may leave in the storage; a sweep's depend on the cluster."""
    sweep: Sweep | None = None

    @property
    def storage(self) -> str:
        """Absolute path or URI."""
        return absolute(self.sweep.storage if self.sweep else self.experiment.storage)

    @property
    def shared(self) -> str:
        """A new folder for files of the doctor's own, in the storage or in the nearest folder above it that this machine has."""
        name = f".chestseg-doctor-{secrets.token_hex(4)}"
        if is_uri(self.storage):
            return inside(self.storage, name)
        folder = Path(self.storage)
        while not folder.exists():
            folder = folder.parent
        return str(folder / name)

    @property
    def free_disk(self) -> int | None:
        """Bytes free in the storage as this machine sees it; None of a bucket."""
        return None if is_uri(self.storage) else shutil.disk_usage(Path(self.shared).parent).free

    @property
    def marker(self) -> str:
        """The file without which nobody opens the prepared dataset."""
        return inside(absolute(self.experiment.data.prepared), MARKER)

    @property
    def server(self) -> str | None:
        """MLflow's address, where it is a server's."""
        uri = self.experiment.tracking.uri
        return uri if uri.startswith("http") else None

    @property
    def database(self) -> Path | None:
        """MLflow's file, where it is one of SQLite's."""
        uri = checked_uri(self.experiment.tracking.uri)
        return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:") else None

    @property
    def learning(self) -> int:
        """Bytes that a worker's network takes where it is computed: weights, gradients, moments, activations of a micro-batch in fp32."""
        training = self.experiment.training
        kept = max(activation_bytes(self.experiment, stage) for stage in self.experiment.stages)
        return COPIES * weight_bytes(self.experiment.model) + (kept // 2 if training.precision == "bf16" else kept)

    def main_memory(self, on_gpu: bool) -> int:
        """Bytes of a worker and its loaders."""
        return int(PROCESS + self.experiment.training.loader_workers * LOADER + (0 if on_gpu else self.learning))

    @property
    def gpu_memory(self) -> int:
        """Bytes of a worker's GPU."""
        return int(CONTEXT + self.learning)


def activation_bytes(experiment: Experiment, stage: Stage) -> int:
    """What autograd keeps of one micro-batch between forward and backward, in fp32: counted on shapes, without arithmetic."""
    with torch.device("meta"):
        network = build_model(experiment.model, pretrained=False).train()
        images = torch.empty(stage.images_per_micro_batch, 1, *shape_of(stage))
    network.recompute = experiment.training.recompute and isinstance(stage, VolumeStage)
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that no other takes its number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    return sum(storage.nbytes() for number, storage in kept.items() if number not in own)
