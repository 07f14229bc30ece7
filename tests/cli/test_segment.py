"""`chestseg segment` from a bucket and into one: an endpoint that answers at once, and a real S3 server."""

import json
from collections.abc import Iterator

import pytest

from chestseg.cli import segment
from chestseg.client import Answer
from chestseg.storage.objects import Objects
from tests.servers import s3_server


class Endpoint:
    """Of radiographs, in place of a client's."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url

    def track(self) -> str:
        return "cxr"

    def segment(self, data: bytes, name: str) -> Answer:
        body = json.dumps({"bytes": len(data)}).encode() if name == "json" else data
        return Answer(body, {"X-Model": "one"})


@pytest.fixture
def bucket() -> Iterator[str]:
    with s3_server() as server:
        yield server.make_bucket("segment")


def test_results_are_put_under_a_uri_and_no_folder_is_named_after_it(bucket: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segment, "Client", Endpoint)
    Objects(f"{bucket}/in").write("a.png", b"picture")
    assert segment.run([f"{bucket}/in"], "http://127.0.0.1:1", f"{bucket}/out") == 0
    assert list(Objects(f"{bucket}/out").list()) == ["cases/a.json", "masks/a.png"]
    assert Objects(f"{bucket}/out").read("masks/a.png") == b"picture" and not list(tmp_path.iterdir())
