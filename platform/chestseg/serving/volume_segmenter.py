"""The deployment that holds the model of volumes: a replica claims one job after the other."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from chestseg.bundle import Bundle
from chestseg.config.serving import Compute, CtServing
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.serving.jobs import AWAY, Jobs
from chestseg.serving.logs import start_logs
from chestseg.serving.metrics import Metrics
from chestseg.serving.model_life import ModelLife
from chestseg.serving.segmenter import GOLDEN_MEAN, threads_of
from chestseg.serving.volume_files import VolumeFiles
from chestseg.serving.volume_scaling import WANTED, replicas_for
from chestseg.serving.volume_service import APP
from chestseg.serving.volume_worker import VolumeWorker

PATIENCE_S = 60.0
"""How long a replica that is to go works on at its job before it hands it back."""
GIGABYTE = 1e9
TOLD_EVERY_S = 10.0
TOLD_WITHIN_S = 6 * TOLD_EVERY_S
"""Without a word for longer, a replica counts as gone."""


class VolumeSegmenter:
    """One replica; ready, in Serve's eyes, when the model is loaded, proved and warm.

    Args:
        settings: the app's.

    Raises:
        ValueError: no sound model.
    """

    def __init__(self, settings: CtServing) -> None:
        start_logs(APP)
        if torch.get_num_threads() != (threads := threads_of(settings.compute)):
            torch.set_num_threads(threads)
        self.settings, self.metrics = settings, Metrics(APP)
        self.jobs, self.life = open_jobs(settings), ModelLife(settings.model, settings.tracking_uri, self._load, settings.cache)
        self.life.start()
        self._tell()
        files, poll_s = open_files(settings), settings.jobs.poll_s
        self.worker = VolumeWorker(self.jobs, files, lambda: self.life.current, poll_s=poll_s, metrics=self.metrics)
        self.worker.start()
        self._looked = asyncio.Event()
        self._tasks = [asyncio.create_task(self.life.watch(settings.watch_s, self._looked.set)), asyncio.create_task(self._keep_telling())]

    def wake(self) -> None:
        """Look for a job now. Being called is what makes Serve start a replica where there is none."""
        self.worker.wake()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """For Serve, which asks twice a second: the replicas that all jobs together want."""
        load = await asyncio.to_thread(self.jobs.load)
        self.metrics.jobs(load.queued, load.running)
        return {WANTED: replicas_for(load.queued, load.running, load.voxels, self.settings.jobs.replica_voxels)}

    def check_health(self) -> None:
        """For Serve: raises where the worker, the watch over the alias or the telling of it ended, and the replica is replaced."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
        if not self.worker.alive:
            raise RuntimeError("the worker ended on a defect: see the log")

    def __del__(self) -> None:
        """For Serve, when the replica goes: the job at work ends, or is handed back."""
        if hasattr(self, "worker"):
            self.worker.stop(PATIENCE_S)

    async def _keep_telling(self) -> None:
        """Tell after each look at the alias, which may find a version to refuse or no registry, and in between that this replica lives."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), TOLD_EVERY_S)
            self._looked.clear()
            with contextlib.suppress(*AWAY):
                await asyncio.to_thread(self._tell)

    def _tell(self) -> None:
        """Tell the front, and Prometheus, what is served."""
        current = self.life.current
        self.metrics.version("champion", current.source.version)
        told: dict[str, Any] = {
            "champion": current.describe(),
            "refused": self.life.refused,
            "registry_reachable": self.life.reachable,
            "device": str(current.predictor.device),
            "precision": str(current.predictor.dtype).removeprefix("torch."),
            "told": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.jobs.announce(APP, told)

    def _load(self, bundle: Bundle) -> VolumePredictor:
        return warm_predictor(bundle, self.settings.compute, self.settings.memory_gb)


def open_jobs(settings: CtServing) -> Jobs:
    """The app's table of jobs."""
    return Jobs(settings.jobs.store, lease_s=settings.jobs.lease_s, keep_s=settings.jobs.keep_s)


def open_files(settings: CtServing) -> VolumeFiles:
    """The app's folder of uploads and results."""
    return VolumeFiles(settings.jobs.folder, settings.jobs.spare_gb * GIGABYTE)


def warm_predictor(bundle: Bundle, compute: Compute, memory_gb: float) -> VolumePredictor:
    """A predictor that has answered its golden case as the hardware will run it.

    Raises:
        ValueError: the bundle is of radiographs, does not fit the hardware, or answers its golden case otherwise there.
    """
    if bundle.spec.track != "ct":
        raise ValueError(f"{bundle.folder}: a model of {bundle.spec.track}: this endpoint serves volumes")
    predictor = VolumePredictor(bundle, device=compute.device, precision=compute.precision, memory_gb=memory_gb)
    if compute.compile:
        predictor.network.compile()
    golden = bundle.golden()
    assert golden, "proved before"
    difference = float(np.abs(predictor.probabilities(golden.image) - golden.probabilities).mean())
    if not difference < GOLDEN_MEAN:
        raise ValueError(
            f"{bundle.folder}: on {predictor.device} in {predictor.dtype} the answer to its golden case is off by {difference:.3g} in the "
            f"mean, more than {GOLDEN_MEAN:g}: set compute.precision to fp32 and compute.compile to false"
        )
    return predictor
