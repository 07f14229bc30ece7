"""A batch from a bucket to a bucket, on a real S3 server: the items of the same folder, brought to whoever works on them, resumable."""

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chestseg.bundle import Bundle, save_bundle
from chestseg.dicom.write_series import write_series
from chestseg.inference.batch_items import Item, list_ct, list_radiographs
from chestseg.inference.batch_output import BucketMarkers, held_results
from chestseg.inference.batch_worker import BatchSettings, BatchWorker
from chestseg.storage.copies import NothingThere, scratch
from chestseg.storage.objects import PATIENCE, Objects
from tests.dicom.series_phantom import IDS, phantom
from tests.inference.tiny import tiny_network, tiny_spec
from tests.servers import S3Server, s3_server

ABOUT = {"version": "a"}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket("batch")
        yield server


@pytest.fixture(autouse=True)
def own_scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHESTSEG_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_bundle(tmp_path_factory.mktemp("model") / "bundle", tiny_spec(), tiny_network().state_dict())


@pytest.fixture
def images(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """Two pictures, and one that is none."""
    uri = f"s3://batch/{request.node.name}/in"
    picture = cv2.imencode(".png", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8))[1].tobytes()
    for name, content in (("a/x.png", picture), ("b/x.png", picture[:-1] + b"\x00"), ("broken.png", picture[:50]), ("notes.txt", b"n")):
        Objects(uri).write(name, content)
    return uri


def elsewhere() -> None:
    """As on another machine, which has no copies yet."""
    shutil.rmtree(scratch())


def test_items_are_those_of_the_folder_and_named_by_uri(images: str) -> None:
    items = list_radiographs([images])
    assert [item.source for item in items] == [f"{images}/a/x.png", f"{images}/b/x.png", f"{images}/broken.png"]
    assert len({item.name for item in items}) == 3 and items[2].name == "broken"
    elsewhere()
    again = list_radiographs([f"{images}/"])
    assert [(item.name, item.key) for item in again] == [(item.name, item.key) for item in items]
    Objects(images).write("broken.png", b"other")
    changed = list_radiographs([images])
    assert [one.key == other.key for one, other in zip(items, changed, strict=True)] == [True, True, False]


def test_an_item_is_brought_to_the_machine_that_works_on_it_and_nothing_else_is(images: str) -> None:
    item: Item = pickle.loads(pickle.dumps(list_radiographs([images])[0]))
    elsewhere()
    assert item.copied
    item.copied.bring()
    assert item.path.read_bytes() == Objects(images).read("a/x.png")
    assert [path for path in item.path.parents[1].rglob("*") if path.is_file()] == [item.path]


def test_a_manifest_in_a_bucket_may_name_objects_and_one_that_is_gone_is_a_row(images: str, tmp_path: Path) -> None:
    rows = [f"{images}/a/x.png", f"{images}/gone.png"]
    pq.write_table(pa.table({"case_id": ["one", "two"], "image": rows}), tmp_path / "m.parquet")
    Objects(images).upload(tmp_path / "m.parquet", "m.parquet")
    items = list_radiographs([f"{images}/m.parquet", f"{images}/b/x.png"])
    assert [(item.name, item.source, item.path.exists()) for item in items] == [
        ("one", rows[0], True), ("two", rows[1], False), ("x", f"{images}/b/x.png", True)
    ]  # fmt: skip
    assert [item.key for item in items] == [item.key for item in list_radiographs([f"{images}/m.parquet", f"{images}/b/x.png"])]


def test_where_nothing_is_one_line_says_so(images: str) -> None:
    with pytest.raises(NothingThere, match=f"^{images}/none: nothing is there: correct the URI"):
        list_radiographs([f"{images}/none"])
    Objects(images).write("empty/notes.txt", b"n")
    with pytest.raises(ValueError, match=f"^{images}/empty: no DICOM, PNG or JPEG in this folder"):
        list_radiographs([f"{images}/empty"])


def test_each_series_of_a_buckets_folder_is_an_item(s3: S3Server, tmp_path: Path) -> None:
    write_series(tmp_path / "one", phantom(), **IDS)
    write_series(tmp_path / "two", phantom(), **IDS | {"series_uid": "1.2.3.5"})
    files = {path.relative_to(tmp_path).as_posix(): path for part in ("one", "two") for path in (tmp_path / part).iterdir()}
    Objects("s3://batch/scans").upload_all(files)
    items = list_ct(["s3://batch/scans"])
    assert len(items) == 2 and {item.source for item in items} == {"s3://batch/scans"}
    elsewhere()
    for item in items:
        assert item.copied and item.series
        item.copied.bring()
        assert all(path.is_file() for path in item.series.paths)
        assert len(item.copied.found) == len(item.series.paths) == len(files) // 2


def test_results_are_put_item_by_item_and_a_second_driver_finds_them(images: str, bundle: Bundle) -> None:
    output = images.replace("/in", "/out")
    items = list_radiographs([images])
    worker = BatchWorker(bundle, BatchSettings(output, ("json", "png"), device="cpu"))
    with held_results(output, ABOUT):
        done = [worker.do(item) for item in items]
    assert [bool(rows[0]["reason"]) for rows in done] == [False, False, True]
    assert f"{images}/broken.png: " in done[2][0]["reason"] and str(scratch()) not in done[2][0]["reason"]
    found = Objects(output).list()
    names = [item.name for item in items[:2]]
    assert set(found) == {"batch.json", *(f"{part}" for n in names for part in (f".done/{n}.json", f"cases/{n}.json", f"masks/{n}.png"))}
    assert f'"source": "{images}/a/x.png"' in Objects(output).read(f"cases/{names[0]}.json").decode()
    assert not [path for path in worker.output.rglob("*") if path.is_file()]
    Objects(output).write(f"masks/{names[1]}.png", b"torn")
    with held_results(output, ABOUT) as markers:
        assert [markers.rows(item) for item in items] == [done[0], None, None]
        (markers.output / "table.csv").write_text("case\n")
    assert Objects(output).read("table.csv") == b"case\n"
    with (
        pytest.raises(ValueError, match=rf"^{output}: holds results of version a, not b: give another --output"),
        held_results(output, {"version": "b"}),
    ):
        pass  # fmt: skip


def test_an_item_that_ended_two_processes_is_given_up_until_the_next_start(images: str, bundle: Bundle) -> None:
    output = images.replace("/in", "/out")
    item = list_radiographs([images])[0]
    for _ in range(2):
        with_another = BatchWorker(bundle, BatchSettings(output, ("png",), device="cpu"))
        with_another.markers.begun(item)
    with held_results(output, ABOUT) as markers:
        markers.forget(item)
    assert BatchWorker(bundle, BatchSettings(output, ("png",), device="cpu")).do(item)[0]["reason"] == ""
    for _ in range(2):
        BatchWorker(bundle, BatchSettings(output, ("png",), device="cpu")).markers.begun(item)
    [row] = BatchWorker(bundle, BatchSettings(output, ("png",), device="cpu")).do(item)
    assert "a/x.png: ended the process that read it 2 times" in row["reason"]


def test_a_bucket_that_is_away_is_not_the_items_fault(s3: S3Server, images: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "0")
    [item, *_] = list_radiographs([images])
    worker = BatchWorker(bundle, BatchSettings(images.replace("/in", "/out"), ("png",), device="cpu"))
    assert isinstance(worker.markers, BucketMarkers)
    s3.stop()
    with pytest.raises(ValueError, match="no answer for 0 s"):
        worker.do(item)
    s3.start()
