"""What the CT endpoint does with requests, whatever carries them: takes uploads in, tells of jobs, ends and deletes them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Literal

from chestseg.config.serving import CtServing
from chestseg.files import FULL, NoSpace
from chestseg.serving.front import Refusal, refusing
from chestseg.serving.jobs import Jobs, new_id
from chestseg.serving.volume_answers import JobAnswer, answer_of
from chestseg.serving.volume_files import VolumeFiles
from chestseg.serving.volume_job import Job, Upload
from chestseg.serving.volume_reading import Limits, look
from chestseg.serving.volume_results import FORMATS, Format, available, read_record
from chestseg.serving.volume_upload import receive

APP = "ct"
LOOK_S = 0.1
"""Between looks at a job that is waited for."""
ROOM_EVERY = 2**26
"""Bytes of an upload between looks at what is free on the disk."""

logger = logging.getLogger("chestseg.serving")


@contextlib.contextmanager
def storing() -> Iterator[None]:
    """Around what writes an upload down: that the disk is full is no defect and not the caller's fault, and becomes a `Refusal`."""
    try:
        yield
    except (NoSpace, OSError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        logger.error("an upload found no room: %s", error)
        raise Refusal(507, "the disk of this service has no room for it: try again later, or tell whoever runs the service") from None


class VolumeService:
    """Jobs and their files, for callers.

    Args:
        settings: of the app.
        jobs: the records.
        files: uploads and results.
        wake: called when a job has been accepted, so that a replica looks for it at once, or one is started.
    """

    def __init__(self, settings: CtServing, jobs: Jobs, files: VolumeFiles, wake: Callable[[], None]) -> None:
        self.settings, self.jobs, self.files, self.wake = settings, jobs, files, wake
        limits = settings.limits
        self._limits = Limits(limits.members, limits.slices, limits.voxels)

    async def take_in(
        self, chunks: AsyncIterator[bytes], content_type: str, caller: str, mode: Literal["strict", "repair"] | None, length: int = 0
    ) -> Job:
        """Receive an upload, look at it and queue it; the job that its caller has already where it was sent before.

        Args:
            chunks: of the request's body.
            content_type: the request's header.
            caller: name of its token.
            mode: what to do about gaps and the like in a series; the app's setting when None.
            length: bytes of the body as far as they are known.

        Raises:
            Refusal: too much waits (429), it is no volume to segment (422), or the disk has no room for it (507).
        """
        mode = mode or self.settings.series
        await asyncio.to_thread(self._require_room, 0)
        with storing():
            await asyncio.to_thread(self.files.require_room, length)
            with self.files.receiving() as folder:
                with refusing():
                    await receive(self._while_there_is_room(chunks), content_type, folder, self._limits.files)
                    looked = await asyncio.to_thread(look, folder, mode, self._limits)
                # What a zip holds is larger than the zip.
                await asyncio.to_thread(self.files.require_room)
                job = await asyncio.to_thread(self._accept, folder, Upload(caller=caller, mode=mode, **looked._asdict()))
        self.wake()
        return job

    async def _while_there_is_room(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks, while the disk takes them: a length may not be known before, and others write there, too."""
        come = 0
        async for chunk in chunks:
            come += len(chunk)
            if come >= ROOM_EVERY:
                come = 0
                await asyncio.to_thread(self.files.require_room)
            yield chunk

    def _accept(self, folder: Path, upload: Upload) -> Job:
        self._require_room(upload.voxels)
        told, job_id = self.jobs.served(APP), new_id()
        self.files.keep(folder, job_id)
        job = self.jobs.submit(upload, told["champion"]["digest"] if told else None, job_id)
        if job.id != job_id:
            self.files.drop_upload(job_id)
        return job

    def _require_room(self, voxels: int) -> None:
        load, limits = self.jobs.load(), self.settings.limits
        if load.queued and load.queued_voxels + voxels > limits.queued_voxels:
            again = {"Retry-After": str(limits.retry_after_s)}
            raise Refusal(429, f"{load.queued} jobs wait: try again after the seconds in Retry-After", again)

    async def ended(self, job: Job, within_s: float) -> Job:
        """Wait for the end of a job that is small enough to be answered at once; the job as it is then, or after `within_s`."""
        if job.voxels > self.settings.jobs.at_once_voxels:
            return job
        deadline = time.monotonic() + min(within_s, self.settings.limits.seconds / 2)
        while job.active and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_S)
            job = await asyncio.to_thread(self.find, job.id, job.caller)
        return job

    def find(self, job_id: str, caller: str) -> Job:
        """A caller's job.

        Raises:
            Refusal: it has none of this id.
        """
        job = self.jobs.get(job_id, caller)
        if job is None:
            raise Refusal(404, "no such job: it expired, or was never yours")
        return job

    def tell(self, job: Job, root: str) -> JobAnswer:
        """What is answered about a job."""
        if job.state == "done":
            folder = self.files.result(job)
            return answer_of(job, None, read_record(folder), available(folder), root)
        return answer_of(job, self.jobs.ahead(job) if job.state == "queued" else None, None, [], root)

    def result(self, job: Job, name: str) -> tuple[Path, Format]:
        """The file of a finished job's format.

        Raises:
            Refusal: it is not finished (409), was cancelled (410), failed (422), or has no such format (406).
        """
        if job.active:
            raise Refusal(409, f"the job is {job.state}: ask again when its state is done")
        if job.state == "cancelled":
            raise Refusal(410, "the job was cancelled: send the volume again")
        if job.state == "failed":
            raise Refusal(422, job.refusal or "the job failed")
        folder = self.files.result(job)
        path = folder / FORMATS[name].path
        if not path.is_file():
            why = f"no DICOM SEG: {read_record(folder)['seg_refused']}" if name == "seg" else "no image is kept of a NIfTI file"
            raise Refusal(406, why)
        return path, FORMATS[name]

    def end(self, job: Job) -> None:
        """Cancel a job, or delete one that has ended."""
        if job.active:
            ended = self.jobs.cancel(job.id, job.caller)
            if ended is None:
                self.end(self.find(job.id, job.caller))
            elif ended.owner is None:
                self.files.drop_upload(job.id)
        elif self.jobs.forget(job):
            self.files.forget(job.id)

    def keep_house(self) -> None:
        """Delete what has expired and what the dead left behind; fail what no worker survives; wake a worker where jobs wait."""
        self.jobs.give_up()
        for job in self.jobs.expired():
            if self.jobs.forget(job):
                self.files.forget(job.id)
        self.files.sweep(self.jobs.state_of)
        if self.jobs.load().queued:
            self.wake()
