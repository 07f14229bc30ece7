"""A run: the resolution schedule from the first stage to the last, resumable at every step."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from chestseg.config import Experiment, RadiographStage, Stage, VolumeStage
from chestseg.data.prepared import PreparedDataset
from chestseg.data.sampling import Sampler
from chestseg.files import whole_file
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter
from chestseg.preprocessing import preprocessing_of
from chestseg.seed import seed_for
from chestseg.training.averaging import SNAPSHOTS, Snapshots
from chestseg.training.checkpoint import Checkpoint, Progress, optimiser_tensors, restore_optimiser
from chestseg.training.engine import Engine
from chestseg.training.group import Group
from chestseg.training.leaving import Notice
from chestseg.training.reporter import Report, Reporter
from chestseg.training.stage import Cases, StageRun

INITIAL = "initial.safetensors"
FINAL = "final.safetensors"


def train(experiment: Experiment, dataset: PreparedDataset, group: Group, reporter: Reporter, folder: Path) -> Path:
    """Execute the schedule on one worker of `group` and return the file of final weights.

    Every worker calls it with the same arguments but for `group`. A run killed at any step and called again with the same
    `reporter` and `folder` goes on from its last checkpoint and, on CPU with the same workers and threads, ends with the same bits.

    Args:
        experiment: what to do.
        dataset: prepared at the stages' sizes or larger.
        group: this worker's place among all.
        reporter: takes metrics and checkpoints, and gives the newest checkpoint back.
        folder: shared by all workers; holds snapshots and the final weights.

    Raises:
        ValueError: cases, weights or sizes that don't fit the experiment.
        FloatingPointError: the loss is no longer finite.
        Leaving: a machine is to go; a checkpoint is safe.
    """
    return _Run(experiment, dataset, group, reporter, folder).execute()


def training_cases(experiment: Experiment, dataset: PreparedDataset) -> Cases:
    """Which cases an experiment trains on and validates on: its fold is held out, the test split is never touched.

    Raises:
        ValueError: fewer cases than workers to train on, no case in the held-out fold, a stage larger than what was
            prepared, or a share of positives that its cases can't give.
    """
    fold = None if experiment.fold == "all" else experiment.fold
    training = dataset.indices(split="train", exclude_fold=fold)
    validation = dataset.indices(split="train", fold=fold) if fold is not None else training[:0]
    if fold is not None and not len(validation):
        raise ValueError(f"fold {fold} has no case in {experiment.data.prepared}: choose another, or fold: all")
    if len(training) < experiment.training.workers:
        raise ValueError(f"{len(training)} training cases for {experiment.training.workers} workers: lower training.workers or add cases")
    for index, stage in enumerate(experiment.stages):
        _require_prepared(stage, f"stages.{index}", dataset)
    cases = Cases(dataset, training, dataset.positive[training], validation, experiment.training.compare_at)
    for index, stage in enumerate(experiment.stages):
        Sampler(cases.training, cases.positive, stage, index, experiment.seed)
    return cases


def _require_prepared(stage: Stage, key: str, dataset: Any) -> None:
    if isinstance(stage, VolumeStage):
        held = getattr(dataset, "spacings", ())
        if stage.spacing not in held:
            raise ValueError(f"{key}.spacing {list(stage.spacing)} was not prepared, only {[list(s) for s in held]}: prepare again")
    elif isinstance(stage, RadiographStage) and stage.size > max(getattr(dataset, "sizes", (0,))):
        raise ValueError(f"{key}.size {stage.size} is more than the prepared {max(getattr(dataset, 'sizes', (0,)))}: prepare again")


def write_initial(experiment: Experiment, folder: Path) -> Path:
    """Make the weights a run starts from once, so that workers neither download nor draw them each for itself.

    Returns:
        Their file in the run's folder.

    Raises:
        ValueError: pretrained weights that can't be had.
    """
    if not (folder / INITIAL).exists():
        torch.manual_seed(seed_for(experiment.seed, "weights"))
        write_weights(build_model(experiment.model), folder / INITIAL)
    return folder / INITIAL


def write_weights(network: Segmenter, path: Path) -> None:
    """Save a network's tensors as safetensors, whole or not at all."""
    with whole_file(path) as file:
        save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, file)


class _Run:
    """One worker's view of a run: the network, where it stands, and whom it reports to."""

    def __init__(self, experiment: Experiment, dataset: PreparedDataset, group: Group, reporter: Reporter, folder: Path) -> None:
        self.experiment, self.group, self.reporter, self.folder = experiment, group, reporter, folder
        self.digest = f"{experiment.digest}-{dataset.hash}"
        self.snapshots = Snapshots(folder / SNAPSHOTS)
        self.cases = training_cases(experiment, dataset)
        self.notice = Notice(group)

    def execute(self) -> Path:
        """Run what is left of the schedule."""
        training = self.experiment.training
        network, progress, optimiser = self._start()
        for index in range(progress.position.stage, len(self.experiment.stages)):
            engine = self._engine(network, index)
            if optimiser:
                restore_optimiser(engine.optimiser, optimiser)

            def save(report: Report, reached: Progress | None, engine: Engine = engine) -> None:
                self._save(report, reached, network, engine.optimiser)

            stage_run = StageRun(engine, self.cases, self.snapshots, index, progress, save, self._after_step)
            progress, optimiser = stage_run.execute(training.checkpoint_every, training.loader_workers), {}
            self._save(Report(index, None, progress.position.steps_done, {}), progress, network, None)
        return self._finish(network)

    def _after_step(self, steps: int) -> bool:
        return self.notice.agreed(self.reporter.after_step(steps))

    def _save(self, report: Report, progress: Progress | None, network: Segmenter, optimiser: torch.optim.Optimizer | None) -> None:
        """Report; where `progress` is given, rank 0 adds a checkpoint."""
        checkpoint = None
        if progress is not None and self.group.rank == 0:
            state = optimiser_tensors(optimiser) if optimiser else {}
            checkpoint = Checkpoint(network.state_dict(), state, progress, self.digest)
        self.reporter.report(report, checkpoint)

    def _start(self) -> tuple[Segmenter, Progress, dict[str, torch.Tensor]]:
        """Network, progress and optimiser tensors, from the newest checkpoint or from scratch."""
        torch.manual_seed(seed_for(self.experiment.seed, "weights"))
        checkpoint = self.reporter.resume(self.digest)
        initial = self.folder / INITIAL
        network = build_model(self.experiment.model, pretrained=checkpoint is None and not initial.exists())
        if checkpoint is None:
            if initial.exists():
                network.load_state_dict(load_file(initial))
            return network, Progress(), {}
        network.load_state_dict(checkpoint.model)
        return network, checkpoint.progress, checkpoint.optimiser

    def _engine(self, network: Segmenter, index: int) -> Engine:
        stage = self.experiment.stages[index]
        preprocessing = preprocessing_of(stage, self.experiment.data)
        return Engine(network, stage, self.experiment.training, preprocessing, self.group, (self.experiment.seed, index))

    def _finish(self, network: Segmenter) -> Path:
        final = self.folder / FINAL
        if self.group.rank == 0:
            write_weights(network, final)
        return final
