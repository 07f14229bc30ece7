"""The client of endpoints, against a server of a few lines: what it sends again, what it tells, where its token goes."""

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chestseg.client import Client, Refused, packed, read_token

Reply = tuple[int, dict[str, str], bytes]
TOKEN = "a-token-of-the-tests"


class Server(ThreadingHTTPServer):
    """Answers what it was told to, in that order, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply] = []
        self.asked: list[tuple[str, str | None, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/cxr"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        status, headers, content = self.server.replies.pop(0)
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_DELETE = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def error(status: int, message: str, **headers: str) -> Reply:
    told = {"error": {"code": "x", "message": message, "request_id": "r1"}}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(told).encode()


def test_a_full_service_is_asked_again_with_the_same_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    server.replies = [error(429, "busy", Retry_After="0"), error(503, "no replica", Retry_After="0"), (200, {}, b'{"present": true}')]
    assert Client(server.url, TOKEN).segment(tmp_path / "a.png").json() == {"present": True}
    assert server.asked == [("/cxr/v1/segment?format=json", f"Bearer {TOKEN}", b"pixels")] * 3


def test_patience_ends_and_what_may_not_be_sent_again_is_not(server: Server) -> None:
    server.replies = [error(429, "busy", Retry_After="30"), error(503, "away"), error(422, "image: damaged image: copy it again")]
    client = Client(server.url, patience_s=10)
    for status, message in ((429, "busy"), (503, "away"), (422, "image: damaged image: copy it again")):
        with pytest.raises(Refused) as refused:
            client.segment(b"x")
        assert (refused.value.status, str(refused.value), refused.value.request_id) == (status, message, "r1")
    assert len(server.asked) == 3


def test_an_answer_that_is_not_the_services_is_told_plainly(server: Server) -> None:
    server.replies = [(502, {}, b"<html>Bad Gateway</html>"), (200, {}, b'{"openapi": "3.1", "paths": {}}')]
    client = Client(server.url)
    with pytest.raises(Refused, match="answered 502 Bad Gateway"):
        client.models()
    with pytest.raises(Refused, match="no endpoint of chestseg"):
        client.track()


def test_a_redirect_is_not_followed(server: Server) -> None:
    server.replies = [(302, {"Location": "http://127.0.0.1:1/elsewhere"}, b"")]
    with pytest.raises(Refused, match="answered 302"):
        Client(server.url, TOKEN).models()


def test_nobody_there_and_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="can't be reached"):
        Client("http://127.0.0.1:1/cxr").models()
    with pytest.raises(FileNotFoundError):
        Client("http://127.0.0.1:1/cxr").segment(tmp_path / "none.png")


@pytest.mark.parametrize("url", ["chest.example/cxr", "ftp://chest.example", "http://", "http://chest.example/cxr", "http://10.0.0.1/cxr"])
def test_a_token_goes_nowhere_unencrypted(url: str) -> None:
    with pytest.raises(ValueError, match=r"https"):
        Client(url, TOKEN)


def test_a_job_is_waited_for(server: Server) -> None:
    job = {"id": "j", "tiles": {"done": 1, "of": 2}, "error": None}
    states = [job | {"state": state} for state in ("queued", "running", "done", "running", "failed", "queued")]
    states[4]["error"] = "upload: truncated NIfTI: copy it again"
    server.replies = [(200, {}, json.dumps(state).encode()) for state in states]
    client, told = Client(server.url), []
    assert client.wait("j", told=lambda job: told.append(job["state"]))["state"] == "done"
    assert told == ["queued", "running", "done"]
    with pytest.raises(Refused, match="truncated NIfTI"):
        client.wait("j")
    with pytest.raises(TimeoutError, match="job j is queued"):
        client.wait("j", within_s=0)


def test_a_folder_is_sent_without_the_names_in_it(tmp_path: Path) -> None:
    for name in ("Smith^Jane/1.dcm", "Smith^Jane/2.dcm", "DICOMDIR"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    with packed(tmp_path) as file:
        assert not isinstance(file, str | Path | bytes)
        file.seek(0)
        data = file.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["00000", "00001"] and archive.read("00001") == b"Smith^Jane/2.dcm"


def test_a_tokens_file_holds_it_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    for content in (b"", b"ward: token", b"\xff\xfe", "schl\u00fcssel".encode()):
        (tmp_path / "token").write_bytes(content)
        with pytest.raises(ValueError, match="holds that token and nothing else"):
            read_token(tmp_path / "token")
