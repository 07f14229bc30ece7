"""The work of a replica: claim a job, segment its volume, leave the result, claim the next."""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from sqlalchemy.exc import OperationalError

from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.serving.jobs import Jobs
from chestseg.serving.volume_files import VolumeFiles
from chestseg.serving.volume_job import ACTIVE, Job
from chestseg.serving.volume_reading import read
from chestseg.serving.volume_results import write_result

BEATS = 5
"""Renewals within a lease: as many may fail or come late before the job is another's."""
BEAT_S = 1.0
"""Longest time between two: progress and cancelling are seen that late."""
log = logging.getLogger("chestseg.serving")

Step = Callable[[str, float], None]
"""Told a step's name and its seconds."""


class Model(Protocol):
    """A model that is served, as `ModelLife` has it."""

    # Any of the predictors; here one of volumes.
    predictor: Any
    name: str
    version: str | None
    run_id: str | None
    digest: str


class Interrupted(Exception):
    """The job is no longer this worker's, or the worker is to stop."""


class VolumeWorker:
    """Segments job after job in a thread of its own.

    Args:
        jobs: where jobs are claimed.
        files: their uploads and results.
        current: the model to work with, asked for each job, which keeps it to its end; None while there is none.
        poll_s: how often to look for a job when there was none.
        measured: told the seconds of each step.
    """

    def __init__(
        self, jobs: Jobs, files: VolumeFiles, current: Callable[[], Model | None], *, poll_s: float, measured: Step = lambda *_: None
    ) -> None:
        self.jobs, self.files, self.current, self.poll_s, self.measured = jobs, files, current, poll_s, measured
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
            job = self._claim(model) if model is not None else None
            if job is None:
                self._woken.wait(self.poll_s)
                self._woken.clear()
            else:
                assert model is not None
                self.work(job, model)

    def _claim(self, model: Model) -> Job | None:
        try:
            return self.jobs.claim(identity(model))
        except OperationalError as error:
            log.warning("no database of jobs, asked again in %g s: %s", self.poll_s, error.orig)
            return None

    def work(self, job: Job, model: Model) -> None:
        """Bring a claimed job to its end, or leave it where it was taken away."""
        began = time.monotonic()
        try:
            with held(self.jobs, job, self._stop) as progress:
                self._segment(job, model, progress)
        except Interrupted:
            self._leave(job)
        else:
            log.info("job ended", extra={"job": job.id, "seconds": round(time.monotonic() - began, 3), "version": model.version})

    def _leave(self, job: Job) -> None:
        """Where the job was not taken away, hand it back; where it was cancelled, delete what was sent."""
        if self._stop.is_set() and self.jobs.hand_back(job):
            log.info("job handed back", extra={"job": job.id})
        elif self.jobs.state_of(job.id) not in ACTIVE:
            self.files.drop_upload(job.id)
            log.info("job cancelled", extra={"job": job.id})

    def _segment(self, job: Job, model: Model, progress: Callable[[int, int], None]) -> None:
        assert job.mode in ("strict", "repair"), job.mode
        predictor = model.predictor
        assert isinstance(predictor, VolumePredictor), type(predictor)
        try:
            with self._timed("read"):
                source = read(self.files.upload(job.id), job.kind, job.mode)
            progress(0, 0)
            with self._timed("model"):
                found = predictor.predict(source.case.volume, progress)
        except ValueError as refusal:
            if self.jobs.fail(job, str(refusal)):
                self.files.drop_upload(job.id)
            return
        folder = self.files.new_result(job)
        with self._timed("encode"):
            write_result(folder, source, found, identity(model), predictor.preprocessing.window)
        if self.jobs.finish(job, folder.name):
            self.files.drop_upload(job.id)
        else:
            shutil.rmtree(folder)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.measured(step, time.monotonic() - began)


def identity(model: Model) -> dict[str, Any]:
    """What a job says of the model that did it."""
    return {"name": model.name, "version": model.version, "run_id": model.run_id, "digest": model.digest}


@contextmanager
def held(jobs: Jobs, job: Job, stop: threading.Event) -> Iterator[Callable[[int, int], None]]:
    """Renew a claimed job's lease for the block; yields what is to be told of done tiles, and of how many.

    What is yielded raises `Interrupted` once the job is another's, was cancelled or `stop` is set.
    """
    ended, lost = threading.Event(), threading.Event()
    tiles = (0, 0)

    def renew() -> None:
        while not ended.wait(min(BEAT_S, jobs.lease_s / BEATS)):
            # While the database is away the lease may end; whoever claims the job then makes this work nobody's.
            with suppress(OperationalError):
                if not jobs.renew(job, *tiles):
                    lost.set()
                    return

    def progress(done: int, of: int) -> None:
        nonlocal tiles
        tiles = (done, of)
        if lost.is_set() or stop.is_set():
            raise Interrupted

    beat = threading.Thread(target=renew, name="lease", daemon=True)
    beat.start()
    try:
        yield progress
    finally:
        ended.set()
        beat.join()
