"""Where a batch's results go: a folder that all nodes share, or a bucket, object by object; and what is done there already."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chestseg.config.location import is_uri
from chestseg.files import exclusive, remove_unfinished
from chestseg.inference.batch_items import Item
from chestseg.inference.batch_results import ABOUT, DONE, Markers, Row, begin
from chestseg.storage.copies import scratch
from chestseg.storage.objects import Found, Objects
from chestseg.storage.working_copy import working_copy


class BucketMarkers(Markers):
    """Of a batch whose results lie in a bucket: files are written here first, and put there object by object, the marker last.

    Args:
        uri: of the results.
        output: folder on this machine's disk that a process writes to.
    """

    def __init__(self, uri: str, output: Path) -> None:
        super().__init__(output)
        self.objects = Objects(uri)
        self._found: dict[str, Found] = {}

    def look(self) -> None:
        """Bring all markers and learn what is there, for `rows` and `forget`."""
        self._found = self.objects.list()
        self.objects.download_all(
            {n: told for n, told in self._found.items() if n.startswith(f"{DONE}/") and n.endswith(".json")}, self.output
        )

    def write(self, item: Item, rows: Sequence[Row], files: Sequence[Path]) -> None:
        """Put an item's files, then its marker."""
        marker = self._marker(item, rows, files)
        self.keep(files)
        self.objects.write(self._name(item), marker.encode())
        self.forget(item)

    def keep(self, files: Sequence[Path]) -> None:
        """Put files; this machine's disk holds no more of them than are at work."""
        self.objects.upload_all({file.relative_to(self.output).as_posix(): file for file in files})
        for file in files:
            file.unlink()

    def begun(self, item: Item) -> int:
        """As in a folder; the item's process is the only one that writes it."""
        name = self._name(item, ".begun")
        before = b""
        with contextlib.suppress(FileNotFoundError):
            before = self.objects.read(name)
        self.objects.write(name, before + b".")
        self._found[name] = Found(len(before) + 1, 0)
        return len(before)

    def forget(self, item: Item) -> None:
        """Of how often an item was begun, as far as this process knows."""
        if self._found.pop(name := self._name(item, ".begun"), None):
            self.objects.delete([name])

    def _name(self, item: Item, suffix: str = ".json") -> str:
        return self._path(item, suffix).relative_to(self.output).as_posix()

    def _size(self, name: str) -> int | None:
        return self._found[name].size if name in self._found else None


@contextlib.contextmanager
def held_results(output: str, about: dict[str, Any]) -> Iterator[Markers]:
    """A batch's results, for the driver alone while the block runs: begun as `begin` does, with what is done already.

    What it writes to `Markers.output` is among the results when the block has ended.

    Raises:
        ValueError: other results were begun there, another driver writes there, or the bucket is away or refuses.
    """
    if not is_uri(output):
        with exclusive(output, "predicted into"):
            begin(Path(output), about)
            yield Markers(Path(output))
            remove_unfinished(output)
        return
    with working_copy(output, "batch", wait=False) as copy:
        copy.fetch(lambda name: name == ABOUT)
        with _named(output, copy.folder):
            begin(copy.folder, about)
        copy.send()
        markers = BucketMarkers(output, copy.folder)
        markers.look()
        yield markers
        copy.send()


@contextlib.contextmanager
def worker_results(output: str) -> Iterator[Markers]:
    """The same for a process that segments: it writes an item's files to `Markers.output`, and marks the item."""
    if not is_uri(output):
        yield Markers(Path(output))
        return
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="batch-") as folder:
        yield BucketMarkers(output, Path(folder))


@contextlib.contextmanager
def _named(output: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(folder), output)) from None
