"""The work of a replica: claim a job, segment its volume, leave the result, claim the next."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from sqlalchemy.exc import OperationalError

from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.serving.jobs import Jobs
from chestseg.serving.metrics import Metrics, Steps
from chestseg.serving.model_life import Served
from chestseg.serving.volume_files import VolumeFiles
from chestseg.serving.volume_job import ACTIVE, Job
from chestseg.serving.volume_reading import read
from chestseg.serving.volume_results import write_result

BEATS = 5
"""Renewals within a lease: as many may fail or come late before the job is another's."""
BEAT_S = 1.0
"""Longest time between two: progress and cancelling are seen that late."""
log = logging.getLogger("chestseg.serving")

Model = Served[VolumePredictor]


class Interrupted(Exception):
    """The job is no longer this worker's, or the worker is to stop."""


class VolumeWorker:
    """Segments job after job in a thread of its own.

    Args:
        jobs: where jobs are claimed.
        files: their uploads and results.
        current: the model to work with, asked for each job, which keeps it to its end.
        poll_s: how often to look for a job when there was none.
        metrics: told of steps and of what was found.
    """

    def __init__(self, jobs: Jobs, files: VolumeFiles, current: Callable[[], Model], *, poll_s: float, metrics: Metrics) -> None:
        self.jobs, self.files, self.current, self.poll_s, self.metrics = jobs, files, current, poll_s, metrics
        self._draining, self._stop, self._woken = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="volumes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; an error that is no finding about an upload ends it."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Look for a job at once."""
        self._woken.set()

    def stop(self, patience_s: float) -> None:
        """Claim nothing more; hand the job at work back unless it ends within `patience_s`."""
        self._draining.set()
        self.wake()
        self._thread.join(patience_s)
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._draining.is_set():
            model = self.current()
            job = self._claim(model)
            if job is None:
                self._woken.wait(self.poll_s)
                self._woken.clear()
            else:
                self.work(job, model)

    def _claim(self, model: Model) -> Job | None:
        try:
            return self.jobs.claim(model.describe())
        except OperationalError as error:
            log.warning("no database of jobs, asked again in %g s: %s", self.poll_s, error.orig)
            return None

    def work(self, job: Job, model: Model) -> None:
        """Bring a claimed job to its end, or leave it where it was taken away."""
        began = time.monotonic()
        try:
            with Lease(self.jobs, job, self._stop) as lease:
                self._segment(job, model, lease)
        except Interrupted:
            self._leave(job)
        else:
            log.info("job ended", extra={"job": job.id, "seconds": round(time.monotonic() - began, 3), "version": model.source.version})

    def _leave(self, job: Job) -> None:
        """Where the job was not taken away, hand it back; where it was cancelled, delete what was sent."""
        if self._stop.is_set() and self.jobs.hand_back(job):
            log.info("job handed back", extra={"job": job.id})
        elif self.jobs.state_of(job.id) not in ACTIVE:
            self.files.drop_upload(job.id)
            log.info("job cancelled", extra={"job": job.id})

    def _segment(self, job: Job, model: Model, lease: "Lease") -> None:
        assert job.mode in ("strict", "repair"), job.mode
        predictor = model.predictor
        steps = Steps()
        try:
            with steps.step("read"):
                source = read(self.files.upload(job.id), job.kind, job.mode)
            lease(0, 0)
            with steps.step("model"):
                found = predictor.predict(source.case.volume, lease)
        except ValueError as refusal:
            if self.jobs.fail(job, str(refusal)):
                self.files.drop_upload(job.id)
            return
        folder = self.files.new_result(job)
        with steps.step("encode"):
            write_result(folder, source, found, model.describe(), predictor.preprocessing.window)
        steps.observe(self.metrics)
        if self.jobs.finish(job, folder.name, lease.tiles[1]):
            self.files.drop_upload(job.id)
            self.metrics.answer(model.source.version, found.present)
        else:
            shutil.rmtree(folder)


class Lease:
    """A claimed job's lease, renewed in a thread for the block; called with the tiles that are done, and of how many.

    The call raises `Interrupted` once the job is another's, was cancelled or `stop` is set.
    """

    def __init__(self, jobs: Jobs, job: Job, stop: threading.Event) -> None:
        self.jobs, self.job, self.stop = jobs, job, stop
        self.tiles = (0, 0)
        self._ended, self._lost = threading.Event(), threading.Event()
        self._beat = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beat.join()

    def __call__(self, done: int, of: int) -> None:
        """As the sliding window tells its progress."""
        self.tiles = (done, of)
        if self._lost.is_set() or self.stop.is_set():
            raise Interrupted

    def _renew(self) -> None:
        while not self._ended.wait(min(BEAT_S, self.jobs.lease_s / BEATS)):
            # While the database is away the lease may end; whoever claims the job then makes this work nobody's.
            with suppress(OperationalError):
                if not self.jobs.renew(self.job, *self.tiles):
                    self._lost.set()
                    return
