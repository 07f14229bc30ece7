"""The staged run under Ray Train: workers, checkpoints in shared storage, restarts."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import ray.train
import torch
from ray.train import FailureConfig, LoggingConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2._internal.execution import context as ray_train_context
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.exceptions import TrainingFailedError

from chestseg.bundle import Bundle, load_bundle
from chestseg.config import Experiment, Training, experiment_from
from chestseg.config.location import absolute
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed import gauges
from chestseg.distributed.bucket_run import BucketCopy, at_work, bucket_of, handed_over
from chestseg.distributed.checkpoints import FolderCheckpoints
from chestseg.distributed.packed import Loop, packed, run_packed
from chestseg.distributed.places import PlaceFails
from chestseg.distributed.room import require_room, uses_gpu, worker_resources
from chestseg.evaluation.conclude import BUNDLE, conclude
from chestseg.models.precision import compute_dtype
from chestseg.storage.working_copy import WorkingCopy
from chestseg.tracking.recorder import Recorder
from chestseg.tracking.runs import TrackedRun
from chestseg.training.checkpoint import Checkpoint
from chestseg.training.group import Group
from chestseg.training.leaving import Leaving
from chestseg.training.reporter import Report
from chestseg.training.run import train

LEAVING = "leaving"
"""Key of a worker's answer: its run was saved because a machine is to go."""
STEPS = "CHESTSEG_STEP_LOG"
"""Environment variable: a folder where the first worker writes a line after each step, for drills to count what was repeated."""

SHOWN = {
    "loss": "loss {:.4f}",
    "val_dice": "dice {:.3f}",
    "val_dice_positives": "on positives {:.3f}",
    "val_negatives_empty": "negatives empty {:.2f}",
    "images_per_second": "{:.1f} images/s",
    "data_wait": "waiting for data {:.1%}",
}
"""Metrics an epoch's line shows, and how."""


def fit(experiment: Experiment, run: TrackedRun, copy: WorkingCopy | None = None) -> Bundle:
    """Train on the attached cluster, score the final weights where they were trained, and return the run's bundle.

    A run of the same experiment that was stopped goes on from its last checkpoint. Ray restarts lost workers up to
    `training.max_failures` times, with as many as there is room for between `training.min_workers` and `training.workers`; a full disk
    or a bucket that is away ends the run sooner (`PlaceFails`). Where Ray is told that a node goes (`ray drain-node`), the run is saved
    at the next step but one and goes on without that node.

    Args:
        experiment: `storage` must be a folder that all nodes share.
        run: where rank 0 records metrics.
        copy: where the run's folder lies in a bucket, the copy of it that `experiment` names.

    Raises:
        ValueError: what the engine refuses, in its words; or workers that failed more often than allowed.
    """
    folder = Path(experiment.run_folder).absolute()
    require_room("training", experiment.training)
    config = {"run": run, "bucket": bucket_of(copy)}
    try:
        with handed_over(copy, run):
            answer = to_the_end(lambda: _fit_interruptibly(trainer_of(experiment, _worker, config)))
    except TrainingFailedError as error:
        remedy = "start it again to go on from its last checkpoint"
        raise ValueError(f"{folder.name}: training stopped ({told(error)}): {remedy}") from error
    if "mistake" in answer:
        raise ValueError(answer["mistake"])
    return load_bundle(folder / BUNDLE)


def to_the_end(fit: Callable[[], Result]) -> dict[str, Any]:
    """Fit, and again where machines go meanwhile, without them; the answer of the first worker."""
    while LEAVING in (answer := fit().return_value or {}):
        print("a machine is to go: saved, going on elsewhere", flush=True)
    return answer


def trainer_of(experiment: Experiment, loop: Loop, config: dict[str, Any], callbacks: Sequence[UserCallback] = ()) -> TorchTrainer:
    """The trainer that runs `loop` on the experiment's workers and restarts them.

    Args:
        experiment: what to train.
        loop: one worker's whole life; gets `config` with the key `experiment` (JSON, its paths absolute) added.
        config: what else the loop needs.
        callbacks: told of every report.
    """
    # Ray would print each line of a worker a second time, through its own log.
    os.environ["RAY_TRAIN_ENABLE_PRINT_PATCH"] = "0"
    folder, training = Path(experiment.run_folder).absolute(), experiment.training
    return TorchTrainer(
        run_packed,
        train_loop_config=packed(loop, {**config, "experiment": for_other_nodes(experiment)}),
        scaling_config=ScalingConfig(
            num_workers=(training.min_workers, training.workers) if training.min_workers else training.workers,
            elastic_resize_monitor_interval_s=training.resize_every,
            use_gpu=uses_gpu(training),
            resources_per_worker=worker_resources(training),
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=FailureConfig(max_failures=training.max_failures),
            callbacks=[PlaceFails(), *callbacks],
            # At INFO Ray repeats every line a worker prints and every report beside it.
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )


def _fit_interruptibly(trainer: TorchTrainer) -> Result:
    """Fit on a thread. In a main thread Ray would take Ctrl-C for itself and leave with code 1, and the run would not be told."""
    outcome: Future[Result] = Future()

    def fit_and_tell() -> None:
        try:
            outcome.set_result(trainer.fit())
        except BaseException as error:  # noqa: BLE001  (carried to the main thread, which raises it)
            outcome.set_exception(error)

    threading.Thread(target=fit_and_tell, name="train", daemon=True).start()
    return outcome.result()


def for_other_nodes(experiment: Experiment) -> str:
    """The experiment as JSON with absolute paths: a worker's current folder is not the driver's."""
    data = experiment.data.model_copy(update={"prepared": absolute(experiment.data.prepared)})
    return experiment.model_copy(update={"data": data, "storage": absolute(experiment.storage)}).model_dump_json()


def _worker(config: dict[str, Any]) -> dict[str, str]:
    """One worker's whole life. What a user can mend is returned, not raised: Ray would try it again in vain."""
    experiment = experiment_from(json.loads(config["experiment"]))
    group = join_group(experiment.training)
    if group.rank == 0:
        dtype = str(compute_dtype(experiment.training.precision, group.device)).removeprefix("torch.")
        print(f"training on {group.size} x {group.device.type} in {dtype}", flush=True)
    try:
        with at_work(config["bucket"], experiment, config["run"], group) as (own, run, copy):
            _train_and_conclude(own, run, group, copy)
    except Leaving:
        return {LEAVING: "yes"}
    except FloatingPointError as mistake:
        return {"mistake": str(mistake)}
    except ValueError as mistake:
        if group.size > 1:
            raise  # the others may not have met it, and would wait for this worker
        return {"mistake": str(mistake)}
    return {}


def _train_and_conclude(experiment: Experiment, run: TrackedRun, group: Group, copy: BucketCopy | None) -> None:
    with run.recorder() if group.rank == 0 else nullcontext() as recorder:
        dataset = PreparedDataset.open(experiment.data.prepared)
        weights = train(experiment, dataset, group, RayReporter(recorder, experiment, group, copy), Path(experiment.run_folder))
        if group.rank == 0:
            conclude(experiment, weights, group.device)


def join_group(training: Training) -> Group:
    """This worker's place among all of a Ray Train run, its threads and logs settled."""
    settle_threads(training)
    logging.getLogger(ray_train_context.__file__).setLevel(logging.WARNING)  # it repeats every report
    context = ray.train.get_context()
    return Group(context.get_world_rank(), context.get_world_size(), get_device())


def settle_threads(training: Training) -> None:
    """Give PyTorch its threads in this process, and OpenCV one."""
    torch.set_num_threads(training.threads or training.cpus_per_worker)
    cv2.setNumThreads(1)


class RayReporter:
    """Reports metrics to Ray Train on every worker; rank 0 also records them, prints a line an epoch, and keeps checkpoints."""

    def __init__(self, recorder: Recorder | None, experiment: Experiment, group: Group, copy: BucketCopy | None = None) -> None:
        self.recorder, self.experiment = recorder, experiment
        self.checkpoints = copy or FolderCheckpoints(Path(experiment.run_folder), group)
        folder = os.environ.get(STEPS) if group.rank == 0 else None
        self.steps = Path(folder, f"{gauges.run_of(experiment)}.steps") if folder else None

    def resume(self, digest: str) -> Checkpoint | None:
        """The newest checkpoint, brought to this node."""
        checkpoint = self.checkpoints.resume(digest)
        if checkpoint and self.recorder:
            position = checkpoint.progress.position
            print(f"going on at stage {position.stage + 1}, epoch {position.epoch + 1}, step {position.step + 1}", flush=True)
        return checkpoint

    def report(self, report: Report, checkpoint: Checkpoint | None) -> None:
        """All workers meet where there are metrics; returns once rank 0's checkpoint is in storage, or on its way to the bucket."""
        if self.recorder:
            record(self.recorder, self.experiment, report, checkpoint, self.shows(report))
        self.settle(report)
        if report.metrics:
            ray.train.report({"stage": report.stage, "step": report.step, **report.metrics})
        self.checkpoints.keep(report, checkpoint)

    def after_step(self, steps: int) -> bool:
        """Whether Ray was told that one of the run's nodes goes."""
        if self.steps:
            with open(self.steps, "a") as log:
                log.write(f"{steps} {os.getpid()} {time.time():.3f}\n")
        return ray_train_context.get_train_context().preemption_context.preemption_info is not None

    def shows(self, report: Report) -> bool:
        """Whether a line is printed of a report's metrics."""
        return True

    def settle(self, report: Report) -> None:
        """What all workers do between a report's metrics and its checkpoint: nothing, where nobody decides on a run that trains."""


def record(recorder: Recorder, experiment: Experiment, report: Report, checkpoint: Checkpoint | None, shown: bool = True) -> None:
    """Keep a report's metrics, print its line where it shall be `shown`, and end the run of a stage that it ends."""
    ended = checkpoint is not None and checkpoint.progress.position.stage > report.stage
    gauges.show(experiment, report, ended)
    if report.metrics:
        epochs = experiment.stages[report.stage].epochs
        recorder.record(report.metrics, step=epochs if report.epoch is None else report.epoch, stage=report.stage)
        if shown:
            print(describe(report, experiment), flush=True)
    if ended:
        recorder.finish_stage(report.stage)


def describe(report: Report, experiment: Experiment) -> str:
    """One line on an epoch or on a stage's final weights."""
    stage = experiment.stages[report.stage]
    when = "final" if report.epoch is None else f"epoch {report.epoch + 1}/{stage.epochs}"
    named = [(prefix + name, text) for prefix in ("", "final_") for name, text in SHOWN.items()]
    told = [text.format(report.metrics[key]) for key, text in named if key in report.metrics]
    return f"stage {report.stage + 1}/{len(experiment.stages)} at {stage.resolution}, {when}: {', '.join(told)}"


def told(error: TrainingFailedError) -> str:
    """What the first worker that failed said last."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    lines = [line.strip() for line in str(next(iter(failures.values()))).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
