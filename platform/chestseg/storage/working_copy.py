"""A folder in a bucket and the copy of it in which one process works: fetched at the start, sent as it changes."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from chestseg.storage.copies import place_of
from chestseg.storage.objects import Objects

CHECKPOINTS = "checkpoints"
"""Folder of checkpoints, which are sent one at a time and whole."""
STATE = "state.json"
"""A checkpoint's file that is put last."""
KEPT = 2
"""Checkpoints in the bucket."""
MARKERS = ("bundle.json", "prepared.json")
"""Files that say a folder is whole: taken away before it changes, put when it has."""
STAYS = (".*", "*/.*", f"{CHECKPOINTS}/*", "checkpoint_manager_snapshot.json", "ray/*", "optuna.db*")
"""Unfinished files, checkpoints, which go their own way, Ray's own, and Optuna's database, which is told from the journal."""
ORIGIN = ".uri"
"""File in a copy that says of what."""

Stamp = tuple[int, int]


class WorkingCopy:
    """Keeps a bucket's folder and a local one alike. One process at a time writes to the bucket's."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self.folder, self.objects = uri, folder, Objects(uri)
        self._known: dict[str, Stamp] = {}

    def fetch(self, wanted: Callable[[str], bool] = lambda name: True, under: str = "") -> None:
        """Bring what is wanted of the content, or of a folder in it, over what is here; checkpoints come by `fetch_checkpoint`.

        Raises:
            ValueError: the bucket is away or refuses.
        """
        found = {name: told for name, told in self.objects.list(under).items() if wanted(name) and not _stays(name)}
        self.objects.download_all(found, self.folder)
        self._known |= {name: _stamp(self.folder / name) for name in found}

    def know(self, name: str) -> None:
        """Take a file for what the bucket holds."""
        self._known[name] = _stamp(self.folder / name)

    def size(self, name: str) -> int:
        """Bytes of a file when it was fetched or sent last; 0 before."""
        return self._known[name][0] if name in self._known else 0

    def send(self) -> None:
        """Put what changed since it was fetched or sent, and take away what was removed; a marked folder's marker comes last.

        Raises:
            ValueError: the bucket is away or refuses.
        """
        now = {name: stamp for name, path in _files(self.folder) if not _stays(name) and (stamp := _stamp(path))}
        changed = {name for name, stamp in now.items() if self._known.get(name) != stamp}
        gone = self._known.keys() - now.keys()
        moved = changed | gone
        markers = {name for name in now.keys() | gone if name.rpartition("/")[2] in MARKERS and _touches(name, moved)}
        self.objects.delete(sorted(markers))
        self.objects.upload_all({name: self.folder / name for name in sorted(changed - markers)})
        self.objects.delete(sorted(gone - markers))
        self.objects.upload_all({name: self.folder / name for name in sorted(markers - gone)})
        self._known = now

    def checkpoints(self) -> list[str]:
        """Names of the whole checkpoints in the bucket, the oldest first. Raises as `fetch`."""
        names = (name.split("/") for name in self.objects.list(CHECKPOINTS))
        return sorted(parts[1] for parts in names if len(parts) == 3 and parts[2] == STATE)

    def fetch_checkpoint(self, checkpoint: str) -> None:
        """Bring one to this copy, whole or not at all. Raises as `fetch`."""
        target = self.folder / CHECKPOINTS / checkpoint
        if target.exists():
            return
        found = self.objects.list(f"{CHECKPOINTS}/{checkpoint}")
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".") as folder:
            self.objects.download_all(found, Path(folder))
            target.parent.mkdir(exist_ok=True)
            Path(folder, CHECKPOINTS, checkpoint).replace(target)

    def send_checkpoint(self, folder: Path, checkpoint: str) -> None:
        """Put a checkpoint's files, the one that makes it count last, then take the oldest away. Raises as `send`."""
        name = f"{CHECKPOINTS}/{checkpoint}"
        self.objects.upload_all({f"{name}/{file.name}": file for file in folder.iterdir() if file.name != STATE})
        self.objects.upload(folder / STATE, f"{name}/{STATE}")
        kept = self.checkpoints()[-KEPT:]
        others = [other for other in self.objects.list(CHECKPOINTS) if other.split("/")[1] not in kept]
        self.objects.delete(sorted(others, key=lambda other: not other.endswith(f"/{STATE}")))


@contextlib.contextmanager
def working_copy(uri: str, role: str, *, wait: bool = True) -> Iterator[WorkingCopy]:
    """An empty working copy for the block; what an earlier process of the role left on this machine is removed.

    Args:
        uri: the folder's.
        role: who works in it; two roles have a copy each, and the bucket is what they have in common.
        wait: for another process of the role to end.

    Raises:
        ValueError: another process of the role runs, and `wait` is false.
    """
    place = place_of(uri) / role
    place.mkdir(parents=True, exist_ok=True)
    with open(place / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ValueError(f"{uri}: in use by another process on this machine: wait for it, or stop it") from None
        folder = place / uri.rpartition("/")[2]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / ORIGIN).write_text(uri)
        try:
            yield WorkingCopy(uri, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def name_of(folder: Path) -> str:
    """What people call a folder: its path, or the URI of what it is a copy of."""
    origin = folder / ORIGIN
    return origin.read_text() if origin.exists() else str(folder)


def _touches(marker: str, moved: set[str]) -> bool:
    """Whether something moved in the marker's folder."""
    folder = marker.rpartition("/")[0]
    return any(name.startswith(f"{folder}/") or not folder for name in moved)


def _stays(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in STAYS)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), path


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
