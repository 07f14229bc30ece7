"""Which listeners the doctor tells apart, and what it hears from them without a token."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chestseg.distributed.doctor_ports import answer, is_loopback, listening, program_of

COMMANDS = {
    "/venv/bin/python -m mlflow server --host 0.0.0.0": "MLflow",
    "ray::ProxyActor": "Ray Serve",
    "/venv/bin/python /site-packages/ray/dashboard/dashboard.py --host=0.0.0.0": "Ray's dashboard",
    "ray-dashboard-MetricsHead": "Ray's dashboard",
    "/venv/bin/python -u /site-packages/ray/dashboard/agent.py": "Ray's metrics",
    "/site-packages/ray/core/src/ray/raylet/raylet --node-manager-port=0": "Ray",
    "ray::IDLE": "Ray",
    "/usr/sbin/sshd -D": None,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_programs_are_known_by_their_command_lines(command: str) -> None:
    assert program_of(command) == COMMANDS[command]


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False)]
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) == loopback


@contextmanager
def serving(answers: dict[str, tuple[int, bytes]]) -> Iterator[int]:
    """A server on loopback that answers by path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answers.get(self.path, (404, b""))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *told: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def heard(program: str, port: int) -> int | None:
    return answer({"program": program, "address": "127.0.0.1", "port": port})


def test_what_answers_without_a_token() -> None:
    routes = b'{"/cxr": "cxr", "/ct": "ct"}'
    with serving({"/api/version": (401, b""), "/-/routes": (200, routes), "/cxr": (401, b""), "/ct": (401, b"")}) as port:
        assert heard("Ray's dashboard", port) == 401
        assert heard("Ray Serve", port) == 401
        assert heard("MLflow", port) == 404
        assert heard("Ray", port) is None
    with serving({"/-/routes": (200, routes), "/cxr": (200, b""), "/ct": (401, b"")}) as port:
        assert heard("Ray Serve", port) == 200
    assert heard("Ray's dashboard", port) is None


def test_nothing_here_listens_beyond_loopback_unasked() -> None:
    assert all(not is_loopback(port["address"]) for port in listening())
