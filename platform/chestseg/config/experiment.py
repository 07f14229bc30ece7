"""An experiment: everything one YAML file says, typed and checked before anything starts."""

import hashlib
import json
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from chestseg.config.data import Data, a_folder
from chestseg.config.stage import Stage
from chestseg.config.strict import Strict


class Model(Strict):
    """A network by the name of its architecture and encoder."""

    architecture: Literal["unet2d"] = "unet2d"
    encoder: str = "resnet34"
    weights: str = "imagenet"
    """`imagenet` (downloaded), `package` (an installed weights package), `none`, or the path of a state dict."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    empty_head: bool = False
    """A second head that says whether the mask is empty."""


class Postprocessing(Strict):
    """From probabilities to a mask. Areas are pixels of a 1024x1024 image and scale with the square of the size."""

    flip_tta: bool = True
    """Average the probabilities of the image and its left-right mirror."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Pixels at or above it belong to the mask (the triplet's bottom threshold)."""
    top_threshold: float | None = Field(default=None, gt=0, lt=1)
    """With `min_area`: the mask is kept only where at least that area reaches this probability (the triplet's top threshold)."""
    min_area: float = Field(default=0.0, ge=0)
    """Smaller masks are emptied; with `top_threshold` the area counts at that threshold."""
    empty_threshold: float | None = Field(default=None, gt=0, lt=1)
    """With an empty-mask head: the mask is emptied when its probability of disease is lower."""

    @model_validator(mode="after")
    def _top_above_bottom(self) -> Self:
        if self.top_threshold is not None and self.top_threshold < self.threshold:
            raise ValueError(f"top_threshold {self.top_threshold} is below threshold {self.threshold}")
        return self


class Training(Strict):
    """How the schedule is executed, on one worker or many; none of it changes what is learned but for rounding."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 autocast where the GPU or CPU computes in it, else fp32."""
    channels_last: bool = True
    compile: bool = False
    workers: int = Field(default=1, ge=1)
    cpus_per_worker: int = Field(default=1, ge=1)
    gpu: Literal["auto", "yes", "no"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    """PyTorch threads of a worker; `cpus_per_worker` when null. Another number rounds differently."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes that load and augment for each worker; 0 loads on one thread beside the training step."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints; one is also written at the end of every epoch that is validated."""
    max_failures: int = Field(default=3, ge=0)
    """How many times Ray restarts the workers from the last checkpoint."""


class Tracking(Strict):
    """Where MLflow keeps the runs and under which name the model is registered."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "chestseg"
    model: str | None = "cxr-pneumothorax"
    """Registered model's name; null registers nothing."""


class Experiment(Strict):
    """One experiment: the data, the model, the resolution schedule and where results go."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    track: Literal["cxr"] = "cxr"
    seed: int = Field(default=0, ge=0)
    data: Data
    fold: int | Literal["all"] = 0
    """Validation fold; `all` trains on every fold and validates on none."""
    model: Model = Model()
    stages: tuple[Stage, ...] = Field(min_length=1)
    postprocessing: Postprocessing = Postprocessing()
    training: Training = Training()
    tracking: Tracking = Tracking()
    storage: str = "runs"
    """Folder in which each run keeps checkpoints, tables and its bundle."""

    @field_validator("storage")
    @classmethod
    def _a_folder(cls, storage: str) -> str:
        return a_folder(storage)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        sizes = [stage.size for stage in self.stages]
        if max(sizes) > max(self.data.sizes):
            raise ValueError(f"a stage of size {max(sizes)} is larger than all data.sizes {list(self.data.sizes)}: add it there")
        if self.fold == "all" and any(stage.early_stop for stage in self.stages):
            raise ValueError("early_stop watches the held-out fold and fold is `all`: give a fold, or early_stop: null")
        if sizes != sorted(sizes):
            raise ValueError(f"stages of sizes {sizes}: a resolution schedule may not go down")
        if isinstance(self.fold, int) and not 0 <= self.fold < self.data.folds:
            raise ValueError(f"fold {self.fold}: there are folds 0 to {self.data.folds - 1}")
        wants_head = any(stage.loss.empty for stage in self.stages)
        if wants_head and not self.model.empty_head:
            raise ValueError("loss.empty has a weight but model.empty_head is false: set it to true")
        if self.postprocessing.empty_threshold is not None and not self.model.empty_head:
            raise ValueError("postprocessing.empty_threshold is set but model.empty_head is false")
        few = [s for s in self.stages if s.micro_batches < self.training.workers]
        if few:
            raise ValueError(
                f"stage of size {few[0].size} has {few[0].micro_batches} micro-batch(es) for {self.training.workers} workers: "
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
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def run_folder(self) -> str:
        """Where this experiment's run keeps checkpoints, snapshots, its journal and its bundle: the same config, the same folder."""
        return f"{self.storage.rstrip('/')}/{self.name}-{self.digest}"
