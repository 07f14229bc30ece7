"""The work at claimed jobs, outside Serve: ended, refused, taken away, handed back."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from chestseg.bundle import load_bundle
from chestseg.config.serving import Compute
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.serving import volume_worker
from chestseg.serving.jobs import Jobs, new_id
from chestseg.serving.model_life import Served, Source
from chestseg.serving.volume_files import VolumeFiles
from chestseg.serving.volume_job import Job, Upload
from chestseg.serving.volume_results import available, read_record
from chestseg.serving.volume_segmenter import warm_predictor
from chestseg.serving.volume_worker import Interrupted, Lease, VolumeWorker
from tests.serving.counted import Counted
from tests.serving.ct_app import tiny_ct, wait_until
from tests.serving.served import tiny_bundle
from tests.serving.volumes_sent import contents, nifti, nothing_but_body, series

Model = Served[VolumePredictor]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    bundle = load_bundle(tiny_ct(tmp_path_factory.mktemp("model") / "bundle").folder)
    source = Source("tiny-ct", "7", "run", bundle.digest, str(bundle.folder))
    return Served(warm_predictor(bundle, Compute(device="cpu"), 4.0), bundle, source)


class Bench:
    """A store, its files and a worker that is not started."""

    def __init__(self, folder: Path, model: Model, lease_s: float = 30.0, kind: type[Jobs] = Jobs) -> None:
        self.jobs, self.files = kind(f"sqlite:///{folder}/jobs.db", lease_s=lease_s), VolumeFiles(folder / "jobs")
        self.metrics = Counted("ct")
        self.worker = VolumeWorker(self.jobs, self.files, lambda: model, poll_s=0.05, metrics=self.metrics, pause_s=0.05)
        self.model = model

    def queued(self, *files: bytes, kind: str = "nifti") -> Job:
        job_id = new_id()
        with self.files.receiving() as folder:
            for number, content in enumerate(files):
                (folder / f"{number:05}").write_bytes(content)
            self.files.keep(folder, job_id)
        return self.jobs.submit(Upload("ward", job_id * 2, "strict", kind, 1, 1), None, job_id)

    def claimed(self, *files: bytes, kind: str = "nifti") -> Job:
        self.queued(*files, kind=kind)
        job = self.jobs.claim(self.model.describe())
        assert job is not None
        return job

    def now(self, job: Job) -> Job:
        found = self.jobs.get(job.id, job.caller)
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path: Path, model: Model) -> Iterator[Bench]:
    bench = Bench(tmp_path, model)
    yield bench
    bench.jobs.close()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return nothing_but_body(tmp_path_factory.mktemp("slow"))


def test_a_job_to_its_result(bench: Bench, tmp_path: Path) -> None:
    job = bench.claimed(*(content for _, content in contents(series(tmp_path / "dicom"))), kind="series")
    bench.worker.work(job, bench.model)
    done = bench.now(job)
    assert done.state == "done" and done.tiles_done == done.tiles > 0 and not bench.files.upload(job.id).exists()
    folder = bench.files.result(done)
    assert available(folder) == ["json", "nifti", "seg", "png", "zip", "image"]
    assert read_record(folder)["model"] == bench.model.describe() == done.model
    assert bench.metrics.answers == [("7", read_record(folder)["present"])]


def test_what_can_not_be_read_fails(bench: Bench, tmp_path: Path) -> None:
    job = bench.claimed(nifti(tmp_path)[:-500])
    bench.worker.work(job, bench.model)
    assert bench.now(job).state == "failed" and str(bench.now(job).refusal).startswith("upload: truncated")
    assert not bench.files.upload(job.id).exists()


def test_a_volume_beyond_the_memory_fails(bench: Bench, tmp_path: Path) -> None:
    small = VolumePredictor(bench.model.bundle, device="cpu", memory_gb=0.01)
    job = bench.claimed(nifti(tmp_path))
    bench.worker.work(job, Served(small, bench.model.bundle, bench.model.source))
    assert bench.now(job).state == "failed" and "memory_gb" in str(bench.now(job).refusal)


def test_a_series_that_nothing_can_refer_to_is_done_without_a_segmentation(bench: Bench, tmp_path: Path) -> None:
    import pydicom

    bodies = []
    for path in series(tmp_path / "dicom"):
        dataset = pydicom.dcmread(path)
        dataset.FrameOfReferenceUID = ""
        dataset.save_as(path)
        bodies.append(path.read_bytes())
    job = bench.claimed(*bodies, kind="series")
    bench.worker.work(job, bench.model)
    folder = bench.files.result(bench.now(job))
    assert available(folder) == ["json", "nifti", "png", "zip", "image"]
    refused = read_record(folder)["seg_refused"]
    assert "FrameOfReferenceUID" in refused and str(tmp_path) not in refused


def test_a_result_that_comes_too_late_is_thrown_away(bench: Bench, tmp_path: Path) -> None:
    job = bench.claimed(nifti(tmp_path))
    assert bench.jobs.cancel(job.id, "ward")
    bench.worker.work(job, bench.model)
    assert bench.now(job).state == "cancelled" and not bench.files.new_result(job).exists()


def test_a_cancelled_job_ends_between_tiles_and_its_upload_goes(tmp_path: Path, model: Model, slow: bytes) -> None:
    bench = Bench(tmp_path, model, lease_s=0.5)
    job = bench.claimed(slow)
    working = threading.Thread(target=bench.worker.work, args=(job, model))
    working.start()
    wait_until(lambda: bench.now(job).tiles_done > 0, "no tile is done")
    assert bench.jobs.cancel(job.id, "ward") and bench.files.upload(job.id).exists()
    working.join()
    cancelled = bench.now(job)
    assert cancelled.tiles_done < cancelled.tiles and not bench.files.upload(job.id).exists()
    assert not bench.files.new_result(job).exists()


def test_a_worker_that_stops_hands_its_job_back_and_another_does_it(tmp_path: Path, model: Model, slow: bytes) -> None:
    first, second = Bench(tmp_path, model), Bench(tmp_path, model)
    job = first.queued(slow)
    first.worker.start()
    wait_until(lambda: first.now(job).tiles_done > 0, "no tile is done")
    first.worker.stop(0)
    assert not first.worker.alive
    assert (first.now(job).state, first.now(job).attempts, first.now(job).model) == ("queued", 0, None)
    second.worker.start()
    wait_until(lambda: second.now(job).state == "done", "nobody does it")
    second.worker.stop(60)
    assert second.now(job).attempts == 1


def test_a_worker_that_stops_ends_its_job_where_there_is_time(bench: Bench, slow: bytes) -> None:
    job = bench.queued(slow)
    bench.worker.start()
    wait_until(lambda: bench.now(job).state == "running", "nobody claims it")
    bench.worker.stop(200)
    assert bench.now(job).state == "done" and not bench.worker.alive


def test_a_worker_wakes_when_it_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.worker.poll_s = 1000
    bench.worker.start()
    job = bench.queued(nifti(tmp_path))
    bench.worker.wake()
    wait_until(lambda: bench.now(job).state == "done", "it sleeps")
    bench.worker.stop(10)
    assert bench.now(job).attempts == 1


def test_a_disk_that_fails_costs_a_job_nothing(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing, write = [errno.ENOSPC] * 4 + [errno.EIO], volume_worker.write_result

    def write_later(*arguments: Any) -> None:
        if failing:
            raise OSError(failing[-1], os.strerror(failing.pop()))
        write(*arguments)

    monkeypatch.setattr(volume_worker, "write_result", write_later)
    job = bench.queued(nifti(tmp_path))
    bench.worker.start()
    wait_until(lambda: bench.now(job).state == "done", "it is not done in the end")
    bench.worker.stop(60)
    assert not failing and bench.now(job).attempts == 1 and read_record(bench.files.result(bench.now(job)))


def test_no_job_is_begun_without_room_for_its_result(bench: Bench, tmp_path: Path) -> None:
    bench.files.spare_bytes = 2**62
    job = bench.queued(nifti(tmp_path))
    bench.worker.start()
    bench.worker.wake()
    time.sleep(0.3)
    assert bench.worker.alive and (bench.now(job).state, bench.now(job).attempts) == ("queued", 0)
    bench.files.spare_bytes = 0
    wait_until(lambda: bench.now(job).state == "done", "it is not begun")
    bench.worker.stop(60)


class Away(Jobs):
    """A database that is away when a job is to be ended: before it did that, or before it could say so."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.times, self.after = 2, False

    def finish(self, job: Job, result: str, tiles: int = 0) -> bool:
        return self._away(lambda: super(Away, self).finish(job, result, tiles))

    def fail(self, job: Job, refusal: str) -> bool:
        return self._away(lambda: super(Away, self).fail(job, refusal))

    def _away(self, change: Callable[[], bool]) -> bool:
        self.times -= 1
        if self.times >= 0:
            if self.after:
                change()
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return change()


@pytest.mark.parametrize("after", [False, True])
def test_a_result_waits_for_the_database(tmp_path: Path, model: Model, after: bool) -> None:
    bench = Bench(tmp_path, model, kind=Away)
    assert isinstance(bench.jobs, Away)
    bench.jobs.after = after
    job = bench.claimed(nifti(tmp_path))
    bench.worker.work(job, model)
    done = bench.now(job)
    assert (done.state, done.attempts, bench.jobs.times) == ("done", 1, -1) and read_record(bench.files.result(done))
    assert not bench.files.upload(job.id).exists() and len(bench.metrics.answers) == 1


def test_a_refusal_waits_for_the_database(tmp_path: Path, model: Model) -> None:
    bench = Bench(tmp_path, model, kind=Away)
    job = bench.claimed(nifti(tmp_path)[:-500])
    bench.worker.work(job, model)
    assert bench.now(job).state == "failed" and not bench.files.upload(job.id).exists()


def test_a_worker_that_stops_does_not_wait_for_the_database(tmp_path: Path, model: Model) -> None:
    bench = Bench(tmp_path, model, kind=Away)
    assert isinstance(bench.jobs, Away)
    bench.jobs.times = 10**9
    job = bench.queued(nifti(tmp_path))
    bench.worker.start()
    wait_until(lambda: bench.jobs.times < 10**9, "it is not done")  # type: ignore[attr-defined]
    bench.worker.stop(0)
    assert not bench.worker.alive and (bench.now(job).state, bench.now(job).attempts) == ("queued", 0)


def test_a_lease_that_is_lost_interrupts(tmp_path: Path, model: Model) -> None:
    bench = Bench(tmp_path, model, lease_s=0.2)
    job = bench.claimed(b"")
    with pytest.raises(Interrupted), Lease(bench.jobs, job, threading.Event()) as lease:
        lease(1, 10)
        assert bench.jobs.cancel(job.id, "ward")
        lease._beat.join()
        lease(2, 10)


def test_a_model_of_radiographs_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a model of cxr: this endpoint serves volumes"):
        warm_predictor(tiny_bundle(tmp_path / "bundle"), Compute(device="cpu"), 4.0)
