"""A web server on loopback, run as a process of its own for as long as a block lasts, and the page it serves."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
STARTS_WITHIN = 120.0
ENDS_WITHIN = 10.0
ANSWERS_WITHIN = 5.0
"""Seconds."""


@dataclass(frozen=True)
class Dashboard:
    """A page to open, and the process behind it where it is ours to watch."""

    name: str
    url: str
    hints: tuple[str, ...] = ()
    """Lines: what else a browser needs, or a user may want to know."""
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None

    def require_alive(self) -> None:
        """Refuse to go on without it.

        Raises:
            ValueError: its process has ended; with the last line it wrote.
        """
        if self.process is None or self.process.poll() is None:
            return
        said = self.log.read_text(errors="replace").split("\n") if self.log else []
        last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
        raise ValueError(f"{self.name}'s server ended ({last}): see that its database can be read, and start again")


def wait_until_up(dashboards: Sequence[Dashboard]) -> None:
    """Return when all answer.

    Raises:
        ValueError: one ended, or does not answer within two minutes.
    """
    deadline = time.monotonic() + STARTS_WITHIN
    for dashboard in dashboards:
        while not answers(dashboard.url):
            dashboard.require_alive()
            if dashboard.process is None or time.monotonic() > deadline:
                raise ValueError(f"{dashboard.name} at {dashboard.url} does not answer: see that it runs and that this machine reaches it")
            time.sleep(0.1)


def choose_port(asked: int | None, usual: int, option: str) -> int:
    """The port asked for, else the usual one, else, where that is taken, any free one.

    Raises:
        ValueError: the port asked for is taken; names the option.
    """
    if asked is not None and not _is_free(asked):
        raise ValueError(f"{option} {asked}: another process listens there: give another, or leave it out for a free one")
    if asked is not None or _is_free(usual):
        return asked or usual
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: only a listener counts
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def served(name: str, module: Sequence[str], url: str, settings: Mapping[str, str]) -> Iterator[Dashboard]:
    """Run a module as a server during the block, in a session of its own: Ctrl-C reaches it only through us.

    Args:
        name: of its page.
        module: to run, and its arguments.
        url: of the page.
        settings: environment variables, where the user has set no others.
    """
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        command = [sys.executable, "-m", *module]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**settings, **os.environ}, start_new_session=True
        )
        try:
            yield Dashboard(name, url, process=process, log=Path(log.name))
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(ENDS_WITHIN)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    """Whether a page can be opened, if need be with a password."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWERS_WITHIN):
            return True
    except urllib.error.HTTPError as refusal:
        return refusal.code in (401, 403)
    except OSError:
        return False
