"""The folder of uploads and results: nothing half-made stays, nothing that is needed goes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from chestseg.serving.volume_files import STALE_S, VolumeFiles
from chestseg.serving.volume_job import Job, State

JOB = Job("ward", "c" * 64, "strict", "nifti", 1, 1, "a" * 32, "running", 0, None, 1, 1, "o" * 32, 1, 0, 0, None, None, None, None)


def aged(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder, (1, os.stat(folder).st_mtime - STALE_S - 60))
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_received_stays_only_where_it_was_kept(tmp_path: Path) -> None:
    files = VolumeFiles(tmp_path)
    with pytest.raises(RuntimeError), files.receiving() as folder:
        (folder / "00000").write_bytes(b"x")
        raise RuntimeError
    assert not names(tmp_path / "uploads")
    with files.receiving() as folder:
        (folder / "00000").write_bytes(b"x")
        files.keep(folder, JOB.id)
    assert (files.upload(JOB.id) / "00000").read_bytes() == b"x" and names(tmp_path / "uploads") == {JOB.id}


def test_forgetting_deletes_all_of_one_job(tmp_path: Path) -> None:
    files = VolumeFiles(tmp_path)
    other = replace(JOB, id="b" * 32)
    for job in (JOB, other):
        files.upload(job.id).mkdir()
        files.new_result(job).mkdir()
        (tmp_path / "results" / f".{job.id}.half").mkdir()
    files.forget(JOB.id)
    assert names(tmp_path / "uploads") == {other.id}
    assert names(tmp_path / "results") == {f"{other.id}.{other.owner}", f".{other.id}.half"}
    assert files.result(replace(other, result=f"{other.id}.{other.owner}")) == files.new_result(other)


def test_sweeping_deletes_what_nobody_knows_and_uploads_of_ended_jobs(tmp_path: Path) -> None:
    files = VolumeFiles(tmp_path)
    states: dict[str, State] = {"q" * 32: "queued", "r" * 32: "running", "d" * 32: "done", "c" * 32: "cancelled"}
    for job_id in states:
        aged(files.upload(job_id))
        aged(tmp_path / "results" / f"{job_id}.owner")
    for stray in ("uploads/.arriving", f"uploads/{'x' * 32}", f"results/{'x' * 32}.owner", f"results/.{'x' * 32}.owner.tmp"):
        aged(tmp_path / stray)
    (tmp_path / "uploads" / ".new").mkdir()
    files.upload("n" * 32).mkdir()
    files.sweep(states.get)
    assert names(tmp_path / "uploads") == {"q" * 32, "r" * 32, ".new", "n" * 32}
    assert names(tmp_path / "results") == {f"{job_id}.owner" for job_id in states}
