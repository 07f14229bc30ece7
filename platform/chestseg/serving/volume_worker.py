"""The work of a replica: claim a job, segment its volume, leave the result, claim the next."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from chestseg.files import NoSpace
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.serving.jobs import AWAY, Jobs, why_away
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
PAUSE_S = 30.0
"""After trouble with the disk, before a job is begun again."""
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
        pause_s: how long to begin nothing after trouble with the disk.
    """

    def __init__(
        self, jobs: Jobs, files: VolumeFiles, current: Callable[[], Model], *, poll_s: float, metrics: Metrics, pause_s: float = PAUSE_S
    ) -> None:
        self.jobs, self.files, self.current, self.metrics = jobs, files, current, metrics
        self.poll_s, self.pause_s = poll_s, pause_s
        self._draining, self._stop, self._woken = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="volumes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; an error that is no finding about an upload, and no trouble of disk or database, ends it."""
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
            # Before hours of work whose result could not be written.
            self.files.require_room_for_a_result()
            return self.jobs.claim(model.describe())
        except AWAY as error:
            log.warning("no database of jobs, asked again in %g s: %s", self.poll_s, why_away(error))
        except (NoSpace, OSError) as error:
            log.error("no job is begun, looked again in %g s: %s", self.pause_s, error)
            self._draining.wait(self.pause_s)
        return None

    def work(self, job: Job, model: Model) -> None:
        """Bring a claimed job to its end, or leave it where it was taken away."""
        began = time.monotonic()
        try:
            with Lease(self.jobs, job, self._stop) as lease:
                self._segment(job, model, lease)
        except Interrupted:
            with suppress(*AWAY):
                self._leave(job)
        except OSError as error:
            self._put_off(job, error)
        else:
            log.info("job ended", extra={"job": job.id, "seconds": round(time.monotonic() - began, 3), "version": model.source.version})

    def _leave(self, job: Job) -> None:
        """Where the job was not taken away, hand it back; where it was cancelled, delete what was sent."""
        if self._stop.is_set() and self.jobs.hand_back(job):
            log.info("job handed back", extra={"job": job.id})
        elif self.jobs.state_of(job.id) not in ACTIVE:
            self.files.drop_upload(job.id)
            log.info("job cancelled", extra={"job": job.id})

    def _put_off(self, job: Job, error: OSError) -> None:
        """The disk's trouble is not the job's: hand it back without counting the attempt, and give whoever runs the disk time."""
        log.error("job put off: %s", error.strerror or type(error).__name__, extra={"job": job.id, "seconds": self.pause_s})
        with suppress(*AWAY):
            self.jobs.hand_back(job)
        self._draining.wait(self.pause_s)

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
            said = str(refusal)
            if self._once_it_answers(lambda: self.jobs.fail(job, said)):
                self.files.drop_upload(job.id)
            return
        folder = self.files.new_result(job)
        with steps.step("encode"):
            write_result(folder, source, found, model.describe(), predictor.preprocessing.window)
        steps.observe(self.metrics)
        if self._once_it_answers(lambda: self._finish(job, folder, lease.tiles[1])):
            self.files.drop_upload(job.id)
            self.metrics.answer(model.source.version, found.present)
        else:
            shutil.rmtree(folder)

    def _finish(self, job: Job, folder: Path, tiles: int) -> bool:
        """Give a job its result; also true where that was done and the database's answer got lost."""
        if self.jobs.finish(job, folder.name, tiles):
            return True
        found = self.jobs.get(job.id, job.caller)
        return found is not None and found.result == folder.name

    def _once_it_answers(self, change: Callable[[], bool]) -> bool:
        """Make a change now, or as soon as the database is back: work that is done is not thrown away.

        Raises:
            Interrupted: it is away, and the worker is to stop.
        """
        while True:
            try:
                return change()
            except AWAY as error:
                log.warning("no database of jobs, asked again in %g s: %s", self.poll_s, why_away(error))
                if self._stop.wait(self.poll_s):
                    raise Interrupted from None


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
            with suppress(*AWAY):
                if not self.jobs.renew(self.job, *self.tiles):
                    self._lost.set()
                    return
