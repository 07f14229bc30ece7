"""A cloud's notice becomes one drained node: against a metadata service on loopback, without Ray."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chestseg.distributed import notice_watch
from chestseg.distributed.notice_watch import aws_notice, gcp_notice, leave, main, watch, works_here

TOKEN = "one-of-imdsv2"


class Metadata(ThreadingHTTPServer):
    """Both clouds' service, as far as notices go."""

    notice: str | None = None
    preempted = "FALSE"
    looks = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        asked = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(200 if asked else 400, TOKEN)

    def do_GET(self) -> None:
        self.server.looks += 1
        if self.path == "/computeMetadata/v1/instance/preempted":
            self._answer(200 if self.headers["Metadata-Flavor"] == "Google" else 403, self.server.preempted)
        elif self.headers["X-aws-ec2-metadata-token"] != TOKEN:
            self._answer(401, "")
        elif self.path == "/latest/meta-data/spot/instance-action" and self.server.notice:
            self._answer(200, self.server.notice)
        else:
            self._answer(404, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def give_notice(server: Metadata, seconds: float) -> None:
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    server.notice = f'{{"action": "terminate", "time": "{end:%Y-%m-%dT%H:%M:%SZ}"}}'


def test_aws_tells_the_seconds_that_are_left(metadata: Metadata) -> None:
    assert aws_notice(metadata.url) is None
    give_notice(metadata, 120)
    seconds = aws_notice(metadata.url)
    assert seconds is not None and 115 <= seconds <= 120
    give_notice(metadata, -5)
    assert aws_notice(metadata.url) == 0


def test_gcp_tells_yes_or_no(metadata: Metadata) -> None:
    assert gcp_notice(metadata.url) is None
    metadata.preempted = "TRUE"
    assert gcp_notice(metadata.url) == notice_watch.GCP_SECONDS


def test_a_node_is_drained_once_though_ray_or_the_service_was_away(metadata: Metadata, caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []
    answers = iter([False, True])

    def look() -> int | None:
        if metadata.looks == 2:
            metadata.looks += 1
            raise OSError("away")
        if metadata.looks > 3:
            give_notice(metadata, 100)
        return aws_notice(metadata.url)

    watch(look, lambda seconds: (told.append(seconds), next(answers))[1], every_s=0.01)
    assert len(told) == 2 and all(90 <= seconds <= 100 for seconds in told)
    assert [record.message for record in caplog.records] == ["the metadata service did not answer (away); asked again"]


def test_rays_command_is_told_of_this_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "ray.py"
    command.write_text("import os, sys; open(sys.argv[1], 'w').write(' '.join([os.environ['RAY_ADDRESS'], *sys.argv[2:]]))")
    monkeypatch.setattr(notice_watch, "RAY", (sys.executable, str(command), str(tmp_path / "told")))
    assert notice_watch.drain_own_node("10.0.0.1:6379", 90)
    told = (tmp_path / "told").read_text()
    assert told.startswith("10.0.0.1:6379 drain-node --address 10.0.0.1:6379 --reason DRAIN_NODE_REASON_PREEMPTION")
    assert told.endswith("--deadline-remaining-seconds 90") and "--node-id" not in told
    command.write_text("import sys; sys.exit('no such head')")
    assert not notice_watch.drain_own_node("10.0.0.1:6379", 90)


def test_a_pod_leaves_when_its_workers_have_and_waits_for_nobody_else(tmp_path: Path) -> None:
    told: list[int] = []

    def drain(seconds: int) -> bool:
        told.append(seconds)
        return True

    leave(drain, 60, lambda: works_here(tmp_path))
    assert not told
    for number, title in ((1, b"ray::IDLE\0"), (2, b"ray::RayTrainWorker.run\0")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_bytes(title)
    asked = iter([True, True, False])
    leave(drain, 60, lambda: works_here(tmp_path) and next(asked), every_s=0.01)
    assert told == [60] and next(asked, None) is None
    leave(drain, 0, lambda: works_here(tmp_path), every_s=0.01)
    assert told == [60, 0]


def test_it_says_what_it_needs_and_loads_neither_ray_nor_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "give --address" in capsys.readouterr().err
    program = "import sys, chestseg.distributed.notice_watch; sys.exit(bool({'ray', 'torch', 'psutil'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)
