"""Where a batch's items lie: in folders that all nodes share, or in buckets, which the driver copies and workers bring items of."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chestseg.config.location import inside, is_uri
from chestseg.storage.copies import NothingThere, current_copy, fill, place_of
from chestseg.storage.objects import AT_ONCE, Found


@dataclass(frozen=True)
class Copied:
    """Files of one item that are copies of a bucket's objects."""

    uri: str
    """Of the folder that the names are in."""
    copy: Path
    """Its copy, at the same place on each machine."""
    found: dict[str, Found]

    def bring(self) -> None:
        """Put them where they are expected, on the machine that asks.

        Raises:
            FileNotFoundError: one is gone.
            ValueError: the bucket is away or refuses, or the disk is too small.
        """
        fill(self.uri, self.found, self.copy)


@dataclass
class Places:
    """Named locations as paths on this machine, and paths as what was named."""

    _uris: dict[Path, str] = field(default_factory=dict)
    """Of the copies."""
    _paths: dict[str, Path] = field(default_factory=dict)

    def here(self, location: str) -> str:
        """A path as it is; of a URI this machine's copy, brought now.

        Raises:
            NothingThere: there is no such object or folder.
            ValueError: the bucket is away or refuses, or the disk is too small.
        """
        if not is_uri(location):
            return location
        if location not in self._paths:
            self._know(location.rstrip("/"), current_copy(location.rstrip("/")))
            self._paths[location] = self._paths[location.rstrip("/")]
        return str(self._paths[location])

    def rows(self, locations: Sequence[str]) -> list[Path]:
        """Those of a manifest, whose URIs are asked for several at once; one where nothing is becomes a path where no file is."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._row, locations))

    def name_of(self, path: Path) -> str:
        """What people call a path: as it is, with slashes, or the URI of what it is a copy of."""
        copy = self._copy_of(path)
        return path.as_posix() if copy is None else inside(self._uris[copy], *path.relative_to(copy).parts)

    def copied(self, files: Sequence[Path]) -> Copied | None:
        """What another machine has to bring of the files of an item, which are of one place; None where they are no copies."""
        copy = self._copy_of(files[0])
        if copy is None:
            return None
        return Copied(self._uris[copy], copy, {file.relative_to(copy).as_posix(): _state(file) for file in files if file.exists()})

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors that are raised in the block name URIs, not copies."""
        try:
            yield
        except ValueError as error:
            told = str(error)
            for copy, uri in self._uris.items():
                told = told.replace(str(copy), uri)
            raise ValueError(told) from None

    def _copy_of(self, path: Path) -> Path | None:
        return next((copy for copy in (path, *path.parents) if copy in self._uris), None)

    def _row(self, location: str) -> Path:
        try:
            return Path(self.here(location))
        except NothingThere:
            return self._know(location, place_of(location) / "now" / location.rpartition("/")[2])

    def _know(self, uri: str, path: Path) -> Path:
        """A folder's copy, or the one object's in its place."""
        single = not path.is_dir()
        self._uris[path.parent if single else path] = uri.rpartition("/")[0] if single else uri
        self._paths[uri] = path
        return path


def _state(file: Path) -> Found:
    status = os.stat(file)
    return Found(status.st_size, status.st_mtime_ns)
