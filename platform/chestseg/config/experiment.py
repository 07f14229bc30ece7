"""An experiment: everything one YAML file says, typed and checked before anything starts."""

# Records are frozen, so a subclass may narrow a field; pyright does not see that through pydantic's metaclass.
# pyright: reportIncompatibleVariableOverride=false

import hashlib
import json
import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from chestseg.config.data import Data, RadiographData, VolumeData, a_folder
from chestseg.config.gate import CtGate, Gate
from chestseg.config.model import Model, UNet2DModel, UNet3DModel, VolumeModel
from chestseg.config.postprocessing import Objective, Postprocessing, VolumePostprocessing
from chestseg.config.stage import RadiographStage, Spacing, Stage, VolumeStage
from chestseg.config.strict import Strict


class Training(Strict):
    """How the schedule is executed, on one worker or many; none of it changes what is learned but for rounding."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 autocast where the GPU or CPU computes in it, else fp32."""
    channels_last: bool = True
    compile: bool = False
    recompute: bool = False
    """Volumes: compute activations again in the backward pass instead of keeping them (gradient checkpointing): less memory, more time."""
    workers: int = Field(default=1, ge=1)
    min_workers: int | None = Field(default=None, ge=1)
    """Fewer workers will do while the cluster has no room for more; null: always `workers`."""
    resize_every: float = Field(default=60.0, gt=0)
    """Seconds between looks whether the number of workers can change, where there are `min_workers`."""
    cpus_per_worker: int = Field(default=1, ge=1)
    gpu: Literal["auto", "yes", "no"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    """PyTorch threads of a worker; `cpus_per_worker` when null. Another number rounds differently."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes that load and augment for each worker; 0 loads on one thread beside the training step."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints; one is also written at the end of every epoch that is validated."""
    max_failures: int = Field(default=3, ge=0)
    """How many times Ray restarts the workers from the last checkpoint; machines that go after a notice do not count."""
    compare_at: Annotated[int, Field(gt=0)] | Spacing | None = None
    """Where validations compare masks: an edge in pixels, of volumes a spacing in mm; each stage's own resolution when null. With it,
    trainings that end at different resolutions are compared on one grid."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers {self.min_workers} is more than workers {self.workers}: lower it, or set it to null")
        return self

    @property
    def fewest_workers(self) -> int:
        """With which it trains at least."""
        return self.min_workers or self.workers


class Tracking(Strict):
    """Where MLflow keeps the runs and under which name the model is registered."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "chestseg"
    model: str | None = None
    """Registered model's name; null registers nothing."""


class CxrTracking(Tracking):
    """Of pneumothorax segmenters."""

    model: str | None = "cxr-pneumothorax"


class CtTracking(Tracking):
    """Of infiltrate segmenters."""

    model: str | None = "ct-covid-infiltrate"


class Experiment(Strict):
    """One experiment: the data, the model, the resolution schedule and where results go. What differs by track is in its subclasses."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    track: str
    seed: int = Field(default=0, ge=0)
    data: Data
    fold: int | Literal["all"] = 0
    """Validation fold; `all` trains on every fold and validates on none."""
    model: Model
    stages: tuple[Stage, ...] = Field(min_length=1)
    postprocessing: Postprocessing | VolumePostprocessing
    choose: Objective | None = None
    """Choose thresholds and areas on the held-out fold when training has ended; null keeps those of `postprocessing`."""
    training: Training = Training()
    tracking: Tracking = Tracking()
    gate: Gate = Gate()
    storage: str = "runs"
    """Folder in which each run keeps checkpoints, tables and its bundle."""

    @field_validator("storage")
    @classmethod
    def _a_folder(cls, storage: str) -> str:
        return a_folder(storage)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.fold == "all" and any(stage.early_stop for stage in self.stages):
            raise ValueError("early_stop watches the held-out fold and fold is `all`: give a fold, or early_stop: null")
        if self.fold == "all" and self.choose:
            raise ValueError("choose looks at the held-out fold and fold is `all`: give a fold, or choose: null")
        if isinstance(self.fold, int) and not 0 <= self.fold < self.data.folds:
            raise ValueError(f"fold {self.fold}: there are folds 0 to {self.data.folds - 1}")
        wants_head = any(stage.loss.empty for stage in self.stages)
        if wants_head and not self.model.empty_head:
            raise ValueError("loss.empty has a weight but model.empty_head is false: set it to true")
        for place, stage in enumerate(self.stages):
            if stage.micro_batches < self.training.workers:
                raise ValueError(
                    f"stages.{place} has {stage.micro_batches} micro-batch(es) for {self.training.workers} workers: "
                    "lower micro_batch or workers"
                )
        return self

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with anything that shapes the weights, given the same dataset.

        Neither where things lie, nor how many workers share the work, nor what is done with the probabilities afterwards counts.
        """
        shaping = self.model_dump(include={"track", "seed", "fold", "model", "stages"}, mode="json")
        shaping["training"] = self.training.model_dump(include={"precision", "channels_last", "compile"})
        if self.training.compare_at and any(stage.early_stop for stage in self.stages):
            shaping["compare_at"] = self.training.compare_at  # it decides when a stage ends
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def run_folder(self) -> str:
        """Where this experiment's run keeps checkpoints, snapshots, its journal and its bundle: the same config, the same folder."""
        return f"{self.storage.rstrip('/')}/{self.name}-{self.digest}"


class CxrExperiment(Experiment):
    """Pneumothorax on chest radiographs."""

    track: Literal["cxr"] = "cxr"
    data: RadiographData
    model: UNet2DModel = UNet2DModel()
    stages: tuple[RadiographStage, ...] = Field(min_length=1)
    postprocessing: Postprocessing = Postprocessing()
    tracking: CxrTracking = CxrTracking()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        sizes = [stage.size for stage in self.stages]
        if max(sizes) > max(self.data.sizes):
            raise ValueError(f"a stage of size {max(sizes)} is larger than all data.sizes {list(self.data.sizes)}: add it there")
        compare_at = self.training.compare_at
        if compare_at is not None and (not isinstance(compare_at, int) or compare_at > max(self.data.sizes)):
            raise ValueError(f"training.compare_at {compare_at}: give an edge in pixels, at most {max(self.data.sizes)} as in data.sizes")
        if sizes != sorted(sizes):
            raise ValueError(f"stages of sizes {sizes}: a resolution schedule may not go down")
        if self.postprocessing.empty_threshold is not None and not self.model.empty_head:
            raise ValueError("postprocessing.empty_threshold is set but model.empty_head is false")
        if self.training.recompute:
            raise ValueError("training.recompute: radiographs fit without it: lower micro_batch, which splits the batch")
        return self


class CtExperiment(Experiment):
    """COVID-19 infiltrates on chest CT."""

    track: Literal["ct"]
    data: VolumeData
    model: VolumeModel = UNet3DModel()
    stages: tuple[VolumeStage, ...] = Field(min_length=1)
    postprocessing: VolumePostprocessing = VolumePostprocessing()
    tracking: CtTracking = CtTracking()
    gate: CtGate = CtGate()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for place, stage in enumerate(self.stages):
            if stage.spacing not in self.data.spacings:
                raise ValueError(f"stages.{place}.spacing {list(stage.spacing)} is not among data.spacings: add it there")
        compare_at = self.training.compare_at
        if compare_at is not None and compare_at not in self.data.spacings:
            raise ValueError(f"training.compare_at {compare_at}: give one of data.spacings {[list(s) for s in self.data.spacings]}")
        voxels = [math.prod(stage.spacing) for stage in self.stages]
        if voxels != sorted(voxels, reverse=True):
            raise ValueError("the voxels of a stage are larger than those of the stage before: a resolution schedule may not go down")
        return self


EXPERIMENTS: dict[str, type[Experiment]] = {"cxr": CxrExperiment, "ct": CtExperiment}
"""By track; a file without one is of the first."""
