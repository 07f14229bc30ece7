"""Copies of a bucket's folders on this machine's disk, fetched once however many processes ask."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from chestseg.config.location import is_uri
from chestseg.files import require_space, whole_file
from chestseg.storage.objects import Found, Objects

SCRATCH = "CHESTSEG_SCRATCH"
"""Environment variable: folder on this machine's own disk for copies. It may be emptied whenever nothing runs."""


class NothingThere(ValueError):
    """A URI under which there is no object."""


def scratch() -> Path:
    """The folder for copies, readable by this user alone; below the system's temporary folder unless the environment says where.

    Raises:
        ValueError: it belongs to somebody else.
    """
    told = os.environ.get(SCRATCH)
    folder = Path(told) if told else Path(tempfile.gettempdir(), f"chestseg-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ValueError(f"{folder}: belongs to another user: name a folder of your own in the environment as {SCRATCH}")
    return folder


def place_of(uri: str) -> Path:
    """Where copies of a URI lie: its last name, to read, and a digest, since names may be long."""
    return scratch() / f"{uri.rstrip('/').rpartition('/')[2]}-{_digest(uri.encode())}"


def node_copy(uri: str, marker: str, check: Callable[[Path], None] | None = None) -> Path:
    """A folder's copy on this machine, as the bucket has it now; the process that comes first fetches it, others wait.

    What was fetched before a kill or an error is kept. Another version of the folder, told by its marker, becomes another copy.

    Args:
        uri: the folder's.
        marker: the object that is put last, so that a folder without it is not there.
        check: is shown the copy before the marker is put; raises ValueError where it is not what it should be.

    Raises:
        FileNotFoundError: there is no such folder, or not all of it yet.
        ValueError: the bucket is away or refuses, the disk is too small, or what came is not what was put.
    """
    objects = Objects(uri)
    told = objects.read(marker)
    copy = place_of(uri) / _digest(told)
    with _locked(copy):
        if not (copy / marker).exists():
            found = objects.list()
            found.pop(marker, None)
            _fill(objects, found, copy)
            if check:
                check(copy)
            if objects.read(marker) != told:
                raise ValueError(f"{uri}: it changed while it was copied: start again when nobody writes there")
            with whole_file(copy / marker) as file:
                file.write_bytes(told)
    return copy


def current_copy(uri: str) -> Path:
    """A folder that has no marker, or a single object, as it is now: what is new or changed is fetched, what is gone is removed.

    Raises:
        NothingThere: there is none.
        ValueError: the bucket is away or refuses, or the disk is too small.
    """
    objects, copy = Objects(uri), place_of(uri) / "now"
    found = objects.list()
    with _locked(copy):
        if not found:
            return _single(uri, copy)
        _fill(objects, found, copy)
        for file in [path for path in copy.rglob("*") if path.is_file() and str(path.relative_to(copy)) not in found]:
            file.unlink()
    return copy


def here(location: str) -> Path:
    """A path as it is; of a URI the current copy."""
    return current_copy(location) if is_uri(location) else Path(location)


def _single(uri: str, copy: Path) -> Path:
    parent, _, name = uri.rpartition("/")
    told = Objects(parent).find(name) if parent.partition("://")[2] else None
    if told is None:
        raise NothingThere(f"{uri}: nothing is there: correct the URI, or put it there first")
    _fill(Objects(parent), {name: told}, copy)
    return copy / name


def fill(uri: str, found: Mapping[str, Found], copy: Path) -> None:
    """Bring the objects `found`, which another machine listed, to the same place on this one; what is here already is not asked for.

    Raises:
        FileNotFoundError: one is gone.
        ValueError: the bucket is away or refuses, or the disk is too small.
    """
    _fill(Objects(uri), found, copy)


def _fill(objects: Objects, found: Mapping[str, Found], copy: Path) -> None:
    """Bring what the copy lacks, going by size and time of change."""
    missing = {name: told for name, told in found.items() if not _is_same(copy / name, told)}
    require_space(copy, sum(told.size for told in missing.values()), f"the copy of {objects.uri}")
    objects.download_all(missing, copy)


def _is_same(file: Path, told: Found) -> bool:
    try:
        status = file.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (told.size, told.changed)


@contextlib.contextmanager
def _locked(copy: Path) -> Iterator[None]:
    """Wait for whoever fills the copy; the system lets go of the lock when that process ends."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{copy}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def put_folder(folder: Path, uri: str, marker: str) -> None:
    """Put a folder's files under a URI; the marker, without which nobody takes it for whole, goes first and comes last.

    Raises:
        ValueError: the bucket is away or refuses.
    """
    objects = Objects(uri)
    objects.delete([marker])
    objects.upload_all({path.name: path for path in folder.iterdir() if path.name != marker})
    objects.upload(folder / marker, marker)


@contextlib.contextmanager
def results(location: str | Path) -> Iterator[Path]:
    """A folder to write results to: the path itself, or one whose files are put under the URI when the block ends without an error.

    Raises:
        ValueError: the bucket is away or refuses.
    """
    if not is_uri(location):
        yield Path(location)
        return
    folder = Path(tempfile.mkdtemp(dir=scratch(), prefix="results-"))
    try:
        yield folder
        Objects(str(location)).upload_all({str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
