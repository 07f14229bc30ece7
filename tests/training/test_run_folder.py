"""A run's folder in a bucket, as drivers see it: what others told meanwhile stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chestseg.storage.objects import Objects
from chestseg.storage.working_copy import name_of
from chestseg.training.run_folder import JOURNAL, SENT, folder_copy, run_folder
from tests.servers import s3_server
from tests.training.arrays_in_memory import small_experiment


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as server:
        yield server.make_bucket("runs")


def test_a_folder_is_the_run_folder_and_nothing_is_copied(tmp_path: Path) -> None:
    experiment = small_experiment(storage=str(tmp_path))
    with run_folder(experiment) as (own, copy):
        assert own is experiment and copy is None


def test_a_run_in_a_bucket_is_worked_on_in_a_copy_without_what_only_workers_need(bucket: str) -> None:
    experiment = small_experiment(storage=f"{bucket}/light")
    objects = Objects(experiment.run_folder)
    objects.write(JOURNAL, b"1\n")
    objects.write("snapshots/one", b"heavy")
    with run_folder(experiment) as (own, copy):
        folder = Path(own.run_folder)
        assert copy and copy.folder == folder and name_of(folder) == experiment.run_folder
        assert own.digest == experiment.digest
        assert {path.name for path in folder.iterdir()} == {JOURNAL, ".uri"}
        (folder / "result").write_text("r")
    assert objects.read("result") == b"r" and objects.read("snapshots/one") == b"heavy" and not folder.exists()


def test_what_a_worker_told_meanwhile_stays_and_ours_comes_behind(bucket: str) -> None:
    uri = f"{bucket}/told"
    Objects(uri).write(JOURNAL, b"1\n")
    with pytest.raises(KeyboardInterrupt), folder_copy(uri, "driver") as copy:
        (copy.folder / JOURNAL).write_text("1\nours\n")
        (copy.folder / SENT).write_text("7")
        Objects(uri).write(JOURNAL, b"1\ntheirs\n")
        raise KeyboardInterrupt
    assert Objects(uri).read(JOURNAL) == b"1\ntheirs\nours\n"
    assert SENT not in Objects(uri).list()
