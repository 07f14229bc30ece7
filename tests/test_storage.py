"""Folders in a bucket: real objects on a real S3 server, which is stopped in between."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chestseg.config.location import a_folder, absolute, inside, is_uri
from chestseg.storage.copies import current_copy, node_copy, put_folder, results
from chestseg.storage.objects import PATIENCE, Objects, StorageError
from chestseg.storage.uploads import Uploads
from chestseg.storage.working_copy import CHECKPOINTS, STATE, working_copy
from tests.servers import S3Server, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket("storage")
        yield server


@pytest.fixture
def uri(s3: S3Server, request: pytest.FixtureRequest) -> str:
    return f"s3://storage/{request.node.name}"


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_a_location_is_a_path_or_a_buckets_folder() -> None:
    assert a_folder("runs/") == "runs/" and a_folder("s3://bucket/runs/") == "s3://bucket/runs"
    assert inside("s3://bucket/runs", "a") == "s3://bucket/runs/a" and inside("runs/", "a") == "runs/a"
    assert absolute("s3://bucket/runs") == "s3://bucket/runs" and os.path.isabs(absolute("runs"))
    assert is_uri("gs://bucket/x") and not is_uri("/s3/x")


@pytest.mark.parametrize("wrong", ["http://x/y", "s3://bucket", "s3://bucket/", "s3://key:secret@bucket/x", "s3://bucket/x?region=y"])
def test_what_is_no_location_or_tells_a_secret_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="give"):
        a_folder(wrong)


def test_objects_are_written_listed_read_and_deleted(uri: str, tmp_path: Path) -> None:
    objects = Objects(uri)
    assert objects.list() == {}
    objects.write("a/b", b"12345")
    objects.upload(write(tmp_path, file="xyz") / "file", "c")
    found = objects.list()
    assert list(found) == ["a/b", "c"] and found["a/b"].size == 5
    objects.download("a/b", tmp_path / "back", found["a/b"])
    assert (tmp_path / "back").read_bytes() == objects.read("a/b") == b"12345"
    assert (tmp_path / "back").stat().st_mtime_ns == found["a/b"].changed
    objects.delete(["a/b", "never"])
    assert list(objects.list()) == ["c"]
    with pytest.raises(FileNotFoundError):
        objects.read("a/b")


def test_a_bucket_that_is_not_there_is_one_line(s3: S3Server) -> None:
    with pytest.raises(StorageError, match=r"^s3://nowhere/x/a: there is no such bucket: make it"):
        Objects("s3://nowhere/x").write("a", b"")


def test_a_server_that_comes_back_is_asked_again_and_one_that_stays_away_is_one_line(s3: S3Server, uri: str) -> None:
    objects = Objects(uri)
    objects.write("kept", b"1")
    s3.stop()
    with pytest.raises(StorageError, match=rf"^{uri}/kept: no answer for 0 s \(.*connect.*\): start it again"):
        Objects(uri, patience=0).read("kept")
    back = threading.Timer(1.0, s3.start)
    back.start()
    assert objects.read("kept") == b"1"
    back.join()


def test_a_folder_counts_when_its_marker_is_there_and_is_fetched_once(uri: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", big="1" * 1000, mark="first")
    Objects(uri).upload(folder / "big", "big")
    with pytest.raises(FileNotFoundError):
        node_copy(uri, "mark")
    put_folder(folder, uri, "mark")
    copy = node_copy(uri, "mark")
    assert (copy / "big").read_text() == "1" * 1000
    before = (copy / "big").stat().st_ino
    assert node_copy(uri, "mark") == copy and (copy / "big").stat().st_ino == before
    write(folder, mark="second")
    put_folder(folder, uri, "mark")
    assert node_copy(uri, "mark") != copy


def test_a_copy_that_fails_its_check_is_not_used(uri: str, tmp_path: Path) -> None:
    put_folder(write(tmp_path / "folder", data="1", mark="m"), uri, "mark")

    def refuse(copy: Path) -> None:
        raise ValueError((copy / "data").read_text())

    for _ in range(2):
        with pytest.raises(ValueError, match="1"):
            node_copy(uri, "mark", refuse)
    assert (node_copy(uri, "mark") / "mark").read_text() == "m"


def test_a_folder_without_a_marker_is_copied_as_it_is_now(uri: str, tmp_path: Path) -> None:
    objects = Objects(uri)
    objects.write("images/a", b"1")
    objects.write("images/b", b"2")
    copy = current_copy(f"{uri}/images")
    assert {path.name for path in copy.iterdir()} == {"a", "b"}
    objects.delete(["images/a"])
    assert {path.name for path in current_copy(f"{uri}/images").iterdir()} == {"b"}
    assert current_copy(f"{uri}/images/b").read_bytes() == b"2"
    with pytest.raises(ValueError, match="nothing is there"):
        current_copy(f"{uri}/images/a")


def test_results_are_put_when_all_are_written(uri: str, tmp_path: Path) -> None:
    with pytest.raises(KeyError), results(uri) as folder:
        write(folder, half="1")
        raise KeyError
    assert Objects(uri).list() == {}
    with results(uri) as folder:
        write(folder, sub__whole="1")
    assert list(Objects(uri).list()) == ["sub/whole"]
    with results(tmp_path) as folder:
        assert folder == tmp_path


def test_a_working_copy_sends_what_changed_and_starts_from_the_bucket(uri: str) -> None:
    with working_copy(uri, "driver") as copy:
        write(copy.folder, journal="1\n", bundle__weights="a", bundle__bundle_json="x")
        (copy.folder / "bundle/bundle_json").rename(copy.folder / "bundle/bundle.json")
        write(copy.folder, **{".unfinished": "", "optuna.db": "", "ray__state": ""})
        copy.send()
        assert list(copy.objects.list()) == ["bundle/bundle.json", "bundle/weights", "journal"]
        with pytest.raises(ValueError, match="in use by another process"), working_copy(uri, "driver", wait=False):
            pass
        with working_copy(uri, "worker") as worker:
            worker.fetch(lambda name: name == "journal")
            with (worker.folder / "journal").open("a") as file:
                file.write("2\n")
            worker.send()
        copy.fetch()
        assert (copy.folder / "journal").read_text() == "1\n2\n"
        (copy.folder / "bundle/weights").unlink()
        copy.send()
        assert "bundle/weights" not in copy.objects.list()
    with working_copy(uri, "driver") as copy:
        assert [path.name for path in copy.folder.iterdir()] == [".uri"]


def test_checkpoints_go_up_whole_in_order_and_the_newest_comes_back(s3: S3Server, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with working_copy(uri, "rank-0") as copy:
        uploads = Uploads(copy)
        for number in range(4):
            folder = write(copy.folder / CHECKPOINTS / f"step-{number}", weights=f"{number}")
            (folder / STATE).write_text("{}")
            write(copy.folder, journal="line\n" * number)
            uploads.wake()
        uploads.close()
        assert copy.checkpoints()[-1] == "step-3" and len(copy.checkpoints()) <= 2
        copy.objects.write(f"{CHECKPOINTS}/step-9/weights", b"half")
    with working_copy(uri, "rank-1") as other:
        assert other.checkpoints()[-1] == "step-3"
        other.fetch_checkpoint("step-3")
        assert (other.folder / CHECKPOINTS / "step-3" / "weights").read_text() == "3"
        other.fetch()
        assert (other.folder / "journal").read_text() == "line\n" * 3 and not (other.folder / CHECKPOINTS / "step-9").exists()


def test_an_upload_that_failed_is_told_at_the_next_one_and_the_last_checkpoint_stays(
    s3: S3Server, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "0")
    with working_copy(uri, "rank-0") as copy:
        folder = write(copy.folder / CHECKPOINTS / "step-1", weights="1")
        (folder / STATE).write_text("{}")
        uploads = Uploads(copy)
        uploads.wake()
        uploads.close()
        uploads = Uploads(copy)
        s3.stop()
        write(copy.folder, journal="1")
        uploads.wake()
        with pytest.raises(StorageError, match="no answer"):
            uploads.close()
        with pytest.raises(StorageError, match="no answer"):
            uploads.wake()
        s3.start()
        assert copy.checkpoints() == ["step-1"]
