"""Jobs in a database: one for each content, worked at by one, survived by the next when that one dies. On SQLite, and on PostgreSQL."""

import multiprocessing
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chestseg.serving.jobs import Jobs, new_id
from chestseg.serving.volume_job import Job, Upload
from tests.servers import free_port

UPLOAD = Upload(caller="ward", content="c" * 64, mode="strict", kind="nifti", slices=10, voxels=1000)
MODEL = {"name": "tiny-ct", "version": "1", "run_id": "r", "digest": "d1"}
NEXT = MODEL | {"version": "2", "digest": "d2"}
Make = Callable[..., Jobs]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a server that listens on a socket in a folder of its own."""
    psycopg2 = pytest.importorskip("psycopg2") if not os.environ.get("CI") else __import__("psycopg2")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL: .ci/run installs it")
        pytest.skip("no PostgreSQL: install Debian's package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    # PostgreSQL refuses root.
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        shutil.chown(folder, user)
    options: dict[str, Any] = {"user": user, "cwd": folder} if os.getuid() == 0 else {"cwd": folder}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([programs[-1] / "initdb", "-D", folder / "data", "-U", "test", "-A", "trust", "-N"], check=True, **options, **quiet)
    port = free_port()
    start = [programs[-1] / "postgres", "-D", folder / "data", "-k", folder, "-h", "", "-p", str(port), "-F"]
    server = subprocess.Popen(start, **options, **quiet)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            try:
                psycopg2.connect(host=str(folder), port=port, user="test", dbname="postgres").close()
                break
            except psycopg2.OperationalError:
                time.sleep(0.05)
        yield f"postgresql+psycopg2://test@/postgres?host={folder}&port={port}"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes stores of one database."""
    url = f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    made: list[Jobs] = []

    def one(**options: Any) -> Jobs:
        made.append(Jobs(url, **options))
        return made[-1]

    yield one
    for store in made:
        for job in store.of_all():
            store.forget(job)
        store.close()


def submit(store: Jobs, digest: str | None = None, **changed: Any) -> Job:
    return store.submit(replace(UPLOAD, **changed), digest, new_id())


def claimed(store: Jobs, model: dict[str, Any] = MODEL) -> Job:
    job = store.claim(model)
    assert job is not None
    return job


def found(store: Jobs, job: Job) -> Job:
    again = store.get(job.id, job.caller)
    assert again is not None
    return again


def test_a_job_from_sending_to_its_result(make: Make) -> None:
    store = make()
    sent = submit(store)
    assert (sent.state, sent.attempts, sent.model, len(sent.id)) == ("queued", 0, None, 32)
    job = claimed(store)
    assert (job.id, job.state, job.attempts, job.model, job.digest) == (sent.id, "running", 1, MODEL, "d1")
    assert store.claim(MODEL) is None
    assert store.renew(job, 3, 12)
    assert (found(store, job).tiles_done, found(store, job).tiles) == (3, 12)
    assert store.finish(job, "folder")
    done = found(store, job)
    assert (done.state, done.result, done.active, done.model) == ("done", "folder", False, MODEL)
    assert done.finished is not None and done.finished >= done.created


def test_the_same_content_is_one_job_of_one_caller_and_one_model(make: Make) -> None:
    store = make()
    first = submit(store)
    assert submit(store).id == first.id
    others = {submit(store, caller="other").id, submit(store, content="e" * 64).id, submit(store, mode="repair").id}
    assert len(others | {first.id}) == 4
    job = claimed(store)
    assert job.id == first.id and submit(store, "d1").id == first.id
    assert store.finish(job, "folder")
    assert submit(store, "d1").id == first.id
    assert submit(store, "d2").id != first.id


def test_what_failed_or_was_cancelled_may_be_sent_again(make: Make) -> None:
    store = make()
    first = submit(store)
    assert store.fail(claimed(store), "unreadable") and found(store, first).refusal == "unreadable"
    second = submit(store, "d1")
    ended = store.cancel(second.id, "ward")
    assert ended is not None and ended.owner is None
    assert len({first.id, second.id, submit(store, "d1").id}) == 3


def test_nobody_else_sees_or_ends_a_job(make: Make) -> None:
    store = make()
    job = submit(store)
    assert store.get(job.id, "other") is None
    assert store.cancel(job.id, "other") is None
    assert found(store, job).state == "queued"


def test_jobs_are_claimed_in_the_order_they_were_sent(make: Make) -> None:
    store = make()
    sent = [submit(store, content=letter * 64) for letter in "abc"]
    assert [store.ahead(job) for job in sent] == [0, 1, 2]
    assert [claimed(store).id for _ in sent] == [job.id for job in sent]
    assert store.load() == (0, 3, 0, 3000)


def test_a_dead_workers_job_is_claimed_again_and_its_late_answer_is_nobodys(make: Make) -> None:
    store = make(lease_s=0)
    job = submit(store)
    first = claimed(store)
    second = claimed(store, NEXT)
    assert first.id == second.id == job.id and first.owner != second.owner and second.attempts == 2
    assert not store.renew(first, 1, 2) and not store.finish(first, "late") and not store.fail(first, "late")
    assert store.finish(second, "right")
    assert (found(store, job).result, found(store, job).model) == ("right", NEXT)


def test_a_lease_that_is_renewed_is_nobody_elses(make: Make) -> None:
    store = make(lease_s=60)
    submit(store)
    assert store.renew(claimed(store), 0, 0) and store.claim(MODEL) is None


def test_a_job_that_ends_its_worker_each_time_fails_in_the_end(make: Make) -> None:
    store = make(lease_s=0, attempts=2)
    job = submit(store)
    assert claimed(store) and claimed(store)
    assert store.claim(MODEL) is None and found(store, job).state == "running"
    store.give_up()
    assert found(store, job).state == "failed" and "2 times" in str(found(store, job).refusal)


def test_a_job_handed_back_waits_without_a_lost_attempt(make: Make) -> None:
    store = make()
    submit(store)
    assert store.hand_back(claimed(store))
    again = claimed(store)
    assert again.attempts == 1
    assert not store.finish(replace(again, owner="earlier"), "late")


def test_a_job_handed_back_beside_the_same_content_is_left_to_its_lease(make: Make) -> None:
    store = make(lease_s=0)
    submit(store)
    job = claimed(store)
    newer = submit(store, "d2")
    assert newer.id != job.id and not store.hand_back(job)
    assert {claimed(store, NEXT).id, claimed(store, NEXT).id} <= {job.id, newer.id}


def test_cancelling_takes_a_job_from_its_worker(make: Make) -> None:
    store = make()
    job = submit(store)
    held = claimed(store)
    ended = store.cancel(job.id, "ward")
    assert ended is not None and ended.owner == held.owner
    assert not store.renew(held, 5, 9) and not store.finish(held, "late") and not store.hand_back(held)
    assert found(store, job).state == "cancelled" and store.claim(MODEL) is None and store.cancel(job.id, "ward") is None


def test_expired_jobs_are_told_and_forgotten(make: Make) -> None:
    store = make(keep_s=0)
    job = submit(store)
    assert not store.expired() and found(store, job).state == "queued"
    assert store.finish(claimed(store), "folder")
    assert store.get(job.id, "ward") is None and submit(store, "d1").id != job.id
    [expired] = store.expired()
    assert expired.id == job.id and store.state_of(job.id) == "done"
    assert store.forget(expired) and store.state_of(job.id) is None and not store.expired()


def test_sending_again_keeps_a_job(make: Make) -> None:
    store = make()
    submit(store)
    assert store.finish(claimed(store), "folder")
    [before] = store.of_all()
    assert submit(store, "d1").expires > before.expires
    assert not store.forget(before) and found(store, before).state == "done"


def test_what_runs_is_not_expired(make: Make) -> None:
    store = make(lease_s=60)
    submit(store)
    job = claimed(store)
    assert make(keep_s=0).cancel("0" * 32, "ward") is None
    assert store.renew(job, 1, 2) and not store.expired()


def test_a_store_opened_anew_has_all_jobs(make: Make) -> None:
    first = make()
    done, waiting = submit(first), submit(first, content="e" * 64)
    assert first.finish(claimed(first), "folder")
    first.close()
    second = make()
    assert (found(second, done).state, found(second, waiting).state) == ("done", "queued")


def test_the_model_announced_last_is_told(make: Make) -> None:
    store = make()
    app = new_id()
    assert store.served(app) is None
    store.announce(app, MODEL)
    store.announce(app, NEXT)
    assert make().served(app) == NEXT and store.served("another") is None
    assert make().served(app, 60) == NEXT and store.served(app, 0) is None


def test_threads_that_send_the_same_get_one_job(make: Make) -> None:
    stores = [make() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        ids = {job.id for job in pool.map(lambda number: submit(stores[number % 4]), range(40))}
    assert len(ids) == 1 and stores[0].load().queued == 1


def _drain(url: str, started: Any, claims: Any) -> None:
    store = Jobs(url)
    started.wait()
    while (job := store.claim(MODEL)) is not None:
        assert store.renew(job, 1, 1) and store.finish(job, "folder")
        claims.put(job.id)
    claims.put(None)


def test_processes_share_the_work_and_none_is_done_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    store = Jobs(url)
    sent = [submit(store, content=f"{number:064}").id for number in range(30)]
    spawn = multiprocessing.get_context("spawn")
    started, claims = spawn.Barrier(3), spawn.Queue()
    workers = [spawn.Process(target=_drain, args=(url, started, claims)) for _ in range(3)]
    for worker in workers:
        worker.start()
    done: list[str] = []
    for _ in workers:
        done += iter(lambda: claims.get(timeout=120), None)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(done) == sorted(sent)
    store.close()
