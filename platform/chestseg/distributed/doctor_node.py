"""What `chestseg doctor` asks of a node. It is sent to nodes by value and needs none of this package there: that may be what is missing.

Answers are plain values, since a node without this package could not name its classes.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ANSWERS_WITHIN = 15.0
"""Seconds, of a server."""
IMPORTS = """
import json, chestseg, torch
import chestseg.distributed.train
print(json.dumps({"chestseg": chestseg.__version__, "file": chestseg.__file__, "gpus": torch.cuda.device_count()}))
"""


def look(timeout: float | None, manifest: str | None, server: str | None, dashboard: str | None = None) -> dict[str, Any]:
    """What a node is and has.

    Args:
        timeout: seconds for importing the package; None in a process that has.
        manifest: of the prepared dataset, None where there is none to read.
        server: MLflow's address, None where nodes need not reach one.
        dashboard: Ray's address (host:port), of the head node only.
    """
    import ray

    return {
        "hostname": platform.node(),
        "python": platform.python_version(),
        "ray": _version("ray"),
        "torch": _version("torch"),
        **(_own() if timeout is None else _imported(timeout)),
        "memory": _memory(),
        "disk": _free(ray.get_runtime_context().get_temp_dir()),
        "scratch": _free(os.environ.get("CHESTSEG_SCRATCH") or tempfile.gettempdir()),
        "manifest": _digest_of(manifest) if manifest else None,
        "server": reached(server) if server else None,
        "authentication": _authentication(dashboard) if dashboard else None,
    }


def tick() -> float:
    """The node's clock, Unix seconds."""
    return time.time()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _own() -> dict[str, Any]:
    """Of this process, which has imported the package."""
    import torch

    import chestseg

    return {"chestseg": chestseg.__version__, "code": _code(Path(chestseg.__file__).parent), "torch_gpus": torch.cuda.device_count()}


def _imported(timeout: float) -> dict[str, Any]:
    """Import what training needs in a process of its own: libraries that do not suit the machine may end it."""
    environment = dict(os.environ)
    if environment.get("CUDA_VISIBLE_DEVICES") == "":  # Ray hides the GPUs from a task that asks for none
        del environment["CUDA_VISIBLE_DEVICES"]
    try:
        done = subprocess.run([sys.executable, "-c", IMPORTS], env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"trouble": f"not imported within {timeout:.0f} s"}
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return {"trouble": said[-1].strip() if said else f"importing it ended with code {done.returncode}"}
    told = json.loads(done.stdout.splitlines()[-1])
    return {"chestseg": told["chestseg"], "code": _code(Path(told["file"]).parent), "torch_gpus": told["gpus"]}


def _code(package: Path) -> str:
    """Twelve hexadecimal digits of a package's files."""
    total = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            total.update(str(file.relative_to(package)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]


def _memory() -> tuple[int, int]:
    """Bytes in all and free, within the container's limit where there is one."""
    import psutil
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    total = get_system_memory()
    return total, min(total - get_used_memory(), psutil.virtual_memory().available)


def _free(folder: str) -> tuple[int, int]:
    """Bytes in all and free on a folder's disk; the nearest folder above it counts where it is yet to be made."""
    path = Path(folder)
    while not path.exists():
        path = path.parent
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


def _authentication(dashboard: str) -> str | None:
    """How the cluster asks who is there: `token` or `disabled`; None where the dashboard does not say."""
    try:
        with urllib.request.urlopen(f"http://{dashboard}/api/authentication_mode", timeout=ANSWERS_WITHIN) as answer:
            return json.load(answer)["authentication_mode"]
    except (OSError, ValueError, KeyError):
        return None


def _digest_of(place: str) -> str:
    """SHA-256 of a file, or what keeps it from being read."""
    try:
        system, path = _opened(place)
        with system.open_input_stream(path) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        return _first_line(error)


def reached(server: str) -> str:
    """Empty where MLflow's server answers, else why not."""
    try:
        with urllib.request.urlopen(f"{server.rstrip('/')}/health", timeout=ANSWERS_WITHIN):
            return ""
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return "" if refusal.code == 401 else f"it answers {refusal.code} {refusal.reason}"
    except OSError as error:
        return str(getattr(error, "reason", error))


def write_mark(folder: str, name: str, text: str) -> str:
    """Write a small file of this node into a folder that all share; empty, or what kept it from being written."""
    try:
        system, path = _opened(folder)
        system.create_dir(path, recursive=False)
        with system.open_output_stream(f"{path}/{name}") as file:
            file.write(text.encode())
    except (OSError, ValueError) as error:
        return _first_line(error)
    return ""


def read_marks(folder: str, marks: dict[str, str]) -> dict[str, str]:
    """Of the files that nodes wrote (name, text), those that are not read back whole here, and why."""
    wrong = {}
    for name, text in marks.items():
        try:
            system, path = _opened(folder)
            with system.open_input_stream(f"{path}/{name}") as file:
                read = file.read().decode()
        except (OSError, ValueError) as error:
            wrong[name] = _first_line(error)
        else:
            if read != text:
                wrong[name] = "it reads other bytes than were written"
    return wrong


def remove_marks(folder: str) -> None:
    """Take the files and their folder away again; where nodes share it, the first does."""
    system, path = _opened(folder)
    with contextlib.suppress(OSError):
        system.delete_dir(path)


def _opened(folder: str) -> tuple[Any, str]:
    """File system and path of a folder or a bucket's address."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    return FileSystem.from_uri(folder) if "://" in folder else (LocalFileSystem(), folder)


def _first_line(error: Exception) -> str:
    """Of what pyarrow says the cause."""
    return next(iter(str(error).rpartition("Detail: ")[2].splitlines()), type(error).__name__)
