"""Files that are there whole or not at all: written beside their final name, synced, then renamed."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}")
"""Names that `tempfile` makes of another."""
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""All that numpy says of a disk that is full."""
NO_SPACE = os.strerror(errno.ENOSPC)
"""What libraries that raise errors of their own say of it in their words."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the `OSError`s of a disk, or of a user's share of it, that is full."""


class NoSpace(ValueError):
    """Something does not fit the disk: an error in the choice of a folder for who runs a command, and in no way a caller's of a service."""


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes `path`'s name, on an error it is removed.

    An `OSError` that names no file is given `path`; what else a library says of a full disk becomes one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync(path.parent)
    except Exception as error:
        _name(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path`, taking an old one's place, when the block ends without an error.

    An `OSError` that names no file is given `path`; what else a library says of a full disk becomes one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            outgoing = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            path.replace(outgoing / path.name)
            temporary.replace(path)
            shutil.rmtree(outgoing)
        else:
            temporary.replace(path)
        _sync(path.parent)
    except Exception as error:
        _name(error, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: str | Path) -> None:
    """Remove what processes that were killed in a `whole_file` left below a folder; nobody may be writing there."""
    for path in Path(folder).rglob(".*"):
        if UNFINISHED.fullmatch(path.name) and path.is_file():
            path.unlink()


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Refuse to start writing `needed` bytes of `what` where they do not fit.

    Raises:
        NoSpace: names the folder, what is free and what is needed.
    """
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise NoSpace(
            f"{folder}: {what} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: free some space or choose another folder"
        )


@contextlib.contextmanager
def exclusive(folder: str | Path, what: str) -> Iterator[None]:
    """Hold a folder's lock for the block; the system lets go of it when the process ends, however it ends.

    Raises:
        ValueError: another process holds it.
    """
    path = Path(folder) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: being {what} by another process: wait for it, or stop it") from None
        yield


def _name(error: Exception, path: Path) -> None:
    """Say in a bare error of the disk what was written. Errors of connections are of other types, or have no code."""
    if not isinstance(error, OSError) and NO_SPACE in str(error):  # safetensors, PyTorch
        raise OSError(errno.ENOSPC, NO_SPACE, str(path)) from error
    if type(error) is not OSError or error.filename is not None:
        return
    if error.errno is None and SHORT_WRITE.search(str(error)):
        error.errno, error.strerror = errno.ENOSPC, f"{NO_SPACE} ({error})"
    if error.errno is not None:
        error.filename = str(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
