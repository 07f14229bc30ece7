"""What the CT endpoint does with uploads and jobs, without HTTP: room, content, ends, housekeeping."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chestseg.serving import volume_service
from chestseg.serving.front import Refusal
from chestseg.serving.jobs import Jobs
from chestseg.serving.volume_job import Job
from chestseg.serving.volume_segmenter import open_files
from chestseg.serving.volume_service import APP, VolumeService
from tests.serving.ct_app import settings_for
from tests.serving.volumes_sent import HU, SCAN, contents, nifti, refused, series, zipped

MODEL = {"name": "tiny-ct", "version": "1", "run_id": None, "digest": "d1"}


class Desk:
    """A service, and how often it woke somebody."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.settings = settings_for("nowhere", folder, **changed)
        self.jobs = Jobs(self.settings.jobs.store, keep_s=self.settings.jobs.keep_s, lease_s=self.settings.jobs.lease_s)
        self.files, self.woken = open_files(self.settings), 0
        self.service = VolumeService(self.settings, self.jobs, self.files, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def send(self, body: bytes, caller: str = "ward", **options: Any) -> Job:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, max(len(body), 1), 10_000):
                yield body[start : start + 10_000]

        return asyncio.run(self.service.take_in(chunks(), "", caller, options.get("mode"), options.get("length", 0)))

    def uploads(self) -> set[str]:
        return {path.name for path in self.files.upload("x").parent.iterdir()}


def status(caught: pytest.ExceptionInfo[Refusal]) -> int:
    return caught.value.status


def test_an_upload_is_queued_once_and_somebody_is_woken(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    body = nifti(tmp_path)
    job = desk.send(body)
    assert (job.kind, job.slices, job.voxels, job.mode, desk.woken) == ("nifti", 32, HU.size, "strict", 1)
    assert desk.send(body).id == job.id and desk.uploads() == {job.id}
    assert desk.send(body, mode="repair").id != job.id


def test_a_finished_job_is_the_same_under_the_model_that_is_served(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    body = nifti(tmp_path)
    first = desk.send(body)
    desk.jobs.announce(APP, {"champion": MODEL})
    claimed = desk.jobs.claim(MODEL)
    assert claimed and desk.jobs.finish(claimed, "folder")
    assert desk.send(body).id == first.id
    desk.jobs.announce(APP, {"champion": MODEL | {"digest": "d2"}})
    assert desk.send(body).id != first.id


def test_too_many_queued_voxels_are_refused_before_and_after_reading(tmp_path: Path) -> None:
    desk = Desk(tmp_path, limits__queued_voxels=HU.size + 10)
    desk.send(nifti(tmp_path))
    with pytest.raises(Refusal) as caught:
        desk.send(nifti(tmp_path, name="other.nii"))
    assert status(caught) == 429 and caught.value.headers == {"Retry-After": "30"} and len(desk.uploads()) == 1
    full = Desk(tmp_path, limits__queued_voxels=HU.size - 1)
    with pytest.raises(Refusal) as caught:
        full.send(b"not even looked at")
    assert status(caught) == 429


def test_a_volume_that_waits_alone_is_never_refused_for_others(tmp_path: Path) -> None:
    assert Desk(tmp_path, limits__queued_voxels=1).send(nifti(tmp_path)).state == "queued"


def test_what_is_no_volume_leaves_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for body, said in refused(tmp_path).values():
        with pytest.raises(Refusal, match=said) as caught:
            desk.send(body)
        assert status(caught) == 422
    assert not desk.uploads() and not desk.woken and not desk.jobs.of_all()


def free(monkeypatch: pytest.MonkeyPatch, *bytes_free: float) -> list[float]:
    """Have the disk tell that so much is free, look after look; returns what is left to tell."""
    told = list(bytes_free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=told.pop(0)))
    return told


def refused_for_the_disk(desk: Desk, body: bytes, **options: Any) -> bool:
    """Whether it is refused by 507, in words that name no folder, and leaves nothing behind."""
    with pytest.raises(Refusal, match="the disk of this service has no room") as caught:
        desk.send(body, **options)
    left = desk.uploads() or desk.woken or desk.jobs.of_all()
    return status(caught) == 507 and str(desk.settings.jobs.folder) not in str(caught.value) and not left


def test_what_the_disk_has_no_room_for_is_refused_before_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, body = Desk(tmp_path, jobs__spare_gb=2), nifti(tmp_path)
    told = free(monkeypatch, 1.9e9, 2e9 + 99)
    assert refused_for_the_disk(desk, body)
    assert refused_for_the_disk(desk, body, length=100)
    assert not told


def test_what_the_disk_has_no_room_for_is_refused_while_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, body = Desk(tmp_path, jobs__spare_gb=2), nifti(tmp_path, name="scan.nii")
    assert len(body) > 50_000
    monkeypatch.setattr(volume_service, "ROOM_EVERY", 20_000)
    told = free(monkeypatch, 3e9, 3e9, 1e9)
    assert refused_for_the_disk(desk, body)
    assert not told


def test_what_a_zip_holds_leaves_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, body = Desk(tmp_path, jobs__spare_gb=2), zipped(contents(series(tmp_path / "dicom")))
    # Before it comes, before it is unpacked, after that.
    for looks in ((3e9, 10), (3e9, 3e9, 1e9)):
        told = free(monkeypatch, *looks)
        assert refused_for_the_disk(desk, body)
        assert not told


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_gets_full_is_no_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    async def full(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(volume_service, "receive", full)
    assert refused_for_the_disk(Desk(tmp_path), b"x")


def test_other_trouble_of_a_disk_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(volume_service, "receive", broken)
    with pytest.raises(OSError, match="Input/output error"):
        Desk(tmp_path).send(b"x")


def test_limits_are_the_settings(tmp_path: Path) -> None:
    desk = Desk(tmp_path, limits__voxels=HU.size - 1)
    with pytest.raises(Refusal, match="at most 2000 and 76799 are taken"):
        desk.send(nifti(tmp_path))


def test_waiting_ends_with_the_job_and_is_for_small_volumes(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    job = desk.send(nifti(tmp_path, SCAN))

    async def wait_and_cancel() -> Job:
        waiting = asyncio.create_task(desk.service.ended(job, 100))
        await asyncio.sleep(0)
        assert desk.jobs.cancel(job.id, "ward")
        return await waiting

    assert asyncio.run(wait_and_cancel()).state == "cancelled"
    assert asyncio.run(Desk(tmp_path, jobs__at_once_voxels=0).service.ended(job, 100)) is job
    assert asyncio.run(desk.service.ended(job, 0)) is job


def test_ending_a_job_in_each_state(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    queued = desk.send(nifti(tmp_path))
    desk.service.end(queued)
    assert desk.service.find(queued.id, "ward").state == "cancelled" and not desk.uploads()
    with pytest.raises(Refusal) as caught:
        desk.service.result(desk.service.find(queued.id, "ward"), "json")
    assert status(caught) == 410
    running = desk.send(nifti(tmp_path))
    assert desk.jobs.claim(MODEL)
    # As it was when its caller asked: queued.
    desk.service.end(running)
    assert desk.uploads() == {running.id}, "its worker may be reading it"
    desk.service.end(desk.service.find(running.id, "ward"))
    with pytest.raises(Refusal) as caught:
        desk.service.find(running.id, "ward")
    assert status(caught) == 404 and not desk.uploads()


def test_housekeeping(tmp_path: Path) -> None:
    desk = Desk(tmp_path, jobs__lease_s=1e-6)
    job = desk.send(nifti(tmp_path))
    for _ in range(3):
        assert desk.jobs.claim(MODEL)
    desk.service.keep_house()
    failed = desk.service.find(job.id, "ward")
    assert failed.state == "failed" and "3 times" in str(failed.refusal) and not desk.uploads() and desk.woken == 1
    waiting = desk.send(nifti(tmp_path))
    desk.service.keep_house()
    assert desk.woken == 3 and desk.uploads() == {waiting.id}
    short = Desk(tmp_path, jobs__keep_s=1e-6)
    assert short.jobs.cancel(waiting.id, "ward")
    short.service.keep_house()
    assert [left.id for left in desk.jobs.of_all()] == [job.id] and not desk.uploads()
