"""Apps on a private cluster of loopback, whose processes a benchmark may look at and kill; and what it sends to them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import psutil
import yaml
from benchmarks.serving import BIN, Side, running

from chestseg.dicom.write import write_radiograph
from chestseg.phantoms.radiograph.make import make_phantom
from tests.servers import free_port

MEGABYTE = 1e6
STARTS = 6
"""Tries to start: on a busy machine a node of Ray may give up, since it waits 30 s for its own agent and no setting changes that."""


@dataclass(frozen=True)
class Apps:
    """A Serve that runs."""

    url: str
    process: psutil.Process

    def replicas(self, deployment: str = "") -> list[psutil.Process]:
        """Processes of the replicas of `app:Deployment`, or of all; oldest first."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if " ".join(process.cmdline()).startswith(f"ray::ServeReplica:{deployment}"):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())


@contextlib.contextmanager
def serving(apps: Mapping[str, Mapping[str, Any]], work: Path, env: Mapping[str, str] | None = None) -> Iterator[Apps]:
    """`serve run` of `serve_apps.cxr:app`, `serve_apps.ct:app` or both, by name with their arguments, each at /NAME."""
    listed = [
        {"name": name, "route_prefix": f"/{name}", "import_path": f"serve_apps.{name}:app", "args": dict(arguments)}
        for name, arguments in apps.items()
    ]
    path, port = work / "apps.yaml", free_port()
    path.write_text(yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": port}, "applications": listed}))
    private = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"}
    # As the benchmark's own; Ray's default is 15 more.
    private |= {"RAY_worker_niceness": "0"}
    side = Side([str(BIN / "serve"), "run", str(path)], port, f"/{next(iter(apps))}/readyz", "", private | dict(env or {}))
    with contextlib.ExitStack() as closing:
        yield Apps(f"http://127.0.0.1:{port}", psutil.Process(_started(closing, side, work, STARTS).pid))


def _started(closing: contextlib.ExitStack, side: Side, work: Path, tries: int) -> subprocess.Popen[bytes]:
    try:
        return closing.enter_context(running(side, work))
    except RuntimeError:
        if tries == 1:
            raise
    return _started(closing, side, work, tries - 1)


def kill(process: psutil.Process) -> None:
    """At once, as a fault of the hardware would."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)


def memory_mb(processes: Sequence[psutil.Process]) -> float:
    """Main memory that they hold and share with nobody else (USS), together."""
    return sum(process.memory_full_info().uss for process in processes) / MEGABYTE


def pictures(folder: Path, count: int, size: int) -> list[Path]:
    """Generated radiographs: DICOM and PNG in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, _ = make_phantom(number, size, positive=number % 3 > 0)
        if number % 2:
            cv2.imwrite(str(folder / f"{number:02}.png"), image)
        else:
            uid = f"1.2.826.0.1.3680043.9.{number}"
            path = folder / f"{number:02}.dcm"
            write_radiograph(path, image, patient_id=f"P{number}", study_uid=f"{uid}.1", series_uid=f"{uid}.2", sop_uid=f"{uid}.3")
    return sorted(folder.iterdir())
