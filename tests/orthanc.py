"""A real Orthanc with its DICOMweb plugin, reachable on loopback only.

Orthanc listens on every interface, whatever its settings say. So it runs in a network of its own, which has no interface but its own
loopback, and two relays join its port by a socket in a folder with one on this machine's loopback.

Run as a program, in that network: `python tests/orthanc.py SETTINGS SOCKET`.
"""

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

PORT = 8042
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STARTS_WITHIN = 90.0
"""Seconds a server may take on a busy machine."""
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def missing() -> str:
    """Why Orthanc can't be run here, or nothing."""
    if not (shutil.which("Orthanc") and PLUGIN.exists()):
        return "no Orthanc: apt-get install orthanc orthanc-dicomweb"
    if subprocess.run([*_apart(), "true"], capture_output=True).returncode:
        return "no network of its own for Orthanc, which would listen on every interface: unshare --net is not allowed here"
    return ""


class Orthanc:
    """A server that keeps its data and its address, so that it may be stopped and started again."""

    def __init__(self, folder: Path, users: dict[str, str] | None = None) -> None:
        self.folder, self.users = folder, users or {}
        # Sockets have short paths.
        self._sockets = Path(tempfile.mkdtemp(prefix="orthanc-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._relay = _Relay(self._sockets / "http")
        self.root = f"http://127.0.0.1:{self._relay.port}"
        self.url = f"{self.root}/dicom-web"

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = self.folder / "orthanc.json"
        settings.write_text(json.dumps(self._settings()))
        command = [*_apart(), sys.executable, __file__, str(settings), str(self._sockets / "http")]
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError((self.folder / "orthanc.log").read_text())
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop it, and the relay."""
        self.stop()
        self._relay.close()
        shutil.rmtree(self._sockets)

    @contextlib.contextmanager
    def by_tls(self, tls: ssl.SSLContext) -> Iterator[str]:
        """The address of its DICOMweb services, encrypted."""
        relay = _Relay(self._sockets / "http", tls)
        try:
            yield f"https://localhost:{relay.port}/dicom-web"
        finally:
            relay.close()

    def clear(self) -> None:
        """Delete all it has."""
        for study in self.find("Study"):
            self.remove(f"/studies/{study}")

    def add(self, file: bytes) -> None:
        """Put a DICOM file into it, by its own interface and not by DICOMweb."""
        urllib.request.urlopen(urllib.request.Request(f"{self.root}/instances", data=file, method="POST")).close()

    def forget(self, modality: str) -> None:
        """Delete all series of a modality."""
        for series in self.find("Series", Modality=modality):
            self.remove(f"/series/{series}")

    def remove(self, resource: str) -> None:
        """Delete a resource by its path in Orthanc's own interface."""
        urllib.request.urlopen(urllib.request.Request(f"{self.root}{resource}", method="DELETE")).close()

    def find(self, level: str, **query: str) -> list[str]:
        """Orthanc's ids of what matches."""
        body = json.dumps({"Level": level, "Query": query}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.root}/tools/find", data=body)) as answer:
            return json.load(answer)

    def files(self, modality: str) -> list[bytes]:
        """All files of a modality."""
        series = self.find("Series", Modality=modality)
        instances = [one for found in series for one in self._get(f"/series/{found}")["Instances"]]
        return [self._read(f"/instances/{one}/file") for one in instances]

    def _get(self, path: str) -> Any:
        return json.loads(self._read(path))

    def _read(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.root}{path}") as answer:
            return answer.read()

    def _settings(self) -> dict[str, Any]:
        return {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": PORT,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(self.users),
            "RegisteredUsers": self.users,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.root}/system", timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return answer.code == 401
        except OSError:
            return False
        return True


@contextlib.contextmanager
def orthanc(folder: Path, users: dict[str, str] | None = None) -> Iterator[Orthanc]:
    """A running server that keeps its data in `folder`."""
    server = Orthanc(folder, users)
    try:
        server.start()
        yield server
    finally:
        server.close()


class _Relay:
    """From a free port on loopback to a socket in a folder, in a thread."""

    def __init__(self, target: Path, tls: ssl.SSLContext | None = None) -> None:
        self._target, self._tls, self._loop, up = target, tls, asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(up,), daemon=True)
        self._thread.start()
        assert up.wait(STARTS_WITHIN)

    def _run(self, up: threading.Event) -> None:
        async def serve() -> None:
            self._stop = asyncio.Event()
            start = functools.partial(asyncio.start_server, host="127.0.0.1", port=0, ssl=self._tls)
            async with _relayed(start, lambda: asyncio.open_unix_connection(self._target)) as server:
                self.port: int = server.sockets[0].getsockname()[1]
                up.set()
                await self._stop.wait()

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(serve())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@contextlib.asynccontextmanager
async def _relayed(start: Any, connect: Any, *where: Any) -> AsyncIterator[asyncio.Server]:
    """A server at `where` that passes on to what `connect` connects with."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            there_reader, there_writer = await connect()
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            running.discard(task)

    server = await start(serve, *where)
    try:
        yield server
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _apart() -> list[str]:
    """A command's beginning that gives it a network of its own; without root's rights a user of its own as well."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16xh", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0))[:18])[0]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


async def _inside(settings: str, path: str) -> None:
    Path(path).unlink(missing_ok=True)
    _raise_loopback()
    process = await asyncio.create_subprocess_exec("Orthanc", settings)
    async with _relayed(asyncio.start_unix_server, lambda: asyncio.open_connection("127.0.0.1", PORT), path):
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_inside(*sys.argv[1:]))
