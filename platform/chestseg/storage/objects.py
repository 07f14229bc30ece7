"""Objects below a URI, through pyarrow: whole ones only, tried again while the bucket is away, with errors that name the URI.

Who may enter and where S3 is come from the environment (`AWS_ENDPOINT_URL`, AWS's own credentials chain, Google's default credentials):
no key is ever in a URI or a config.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow.fs

from chestseg.config.location import inside
from chestseg.files import whole_file

PATIENCE = "CHESTSEG_STORAGE_PATIENCE"
"""Environment variable: seconds for which a bucket that is away is asked again."""
DEFAULT_PATIENCE = 300.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
AT_ONCE = 8
"""Transfers side by side."""
BLOCK = 1 << 22
REFUSALS = {
    "NO_SUCH_BUCKET": "there is no such bucket: make it, or correct the URI",
    "ACCESS_DENIED": "access is denied: let this machine's role or key read, write and delete there",
    "INVALID_ACCESS_KEY_ID": "the access key is unknown: correct AWS's credentials on this machine",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong: correct AWS's credentials on this machine",
    "PERMISSION_DENIED": "access is denied: let this machine's service account read, write and delete there",
    "UNAUTHENTICATED": "no credentials: give this machine a service account",
}
"""What asking again does not mend, by the word in pyarrow's message."""

LOG = logging.getLogger(__name__)
Answer = TypeVar("Answer")


def patience() -> float:
    """Seconds for which a bucket that is away is asked again, before an error says so."""
    return float(os.environ.get(PATIENCE, DEFAULT_PATIENCE))


class StorageError(ValueError):
    """A bucket refuses, or is away for longer than anybody is patient; what was stored before is whole."""


class Found(NamedTuple):
    """What a listing tells of an object."""

    size: int
    """Bytes."""
    changed: int
    """Nanoseconds since 1970."""


@dataclass
class Objects:
    """The objects whose names start with a URI; every name here is relative to it.

    All methods raise StorageError, one line that names the URI and the remedy, where the bucket refuses, or is away for `patience` seconds.
    """

    uri: str
    patience: float = field(default_factory=patience)

    def read(self, name: str) -> bytes:
        """An object's bytes.

        Raises:
            FileNotFoundError: there is none.
        """

        def read() -> bytes:
            with self._filesystem.open_input_stream(self._path(name)) as stream:
                return stream.read()

        return self._insist(name, read)

    def write(self, name: str, content: bytes) -> None:
        """Put an object, whole or not at all."""

        def write() -> None:
            with self._filesystem.open_output_stream(self._path(name)) as stream:
                stream.write(content)

        self._insist(name, write)

    def upload(self, file: Path, name: str) -> None:
        """Put a file's bytes.

        Raises:
            FileNotFoundError: the file is gone.
        """

        def upload() -> None:
            with open(file, "rb") as source, self._filesystem.open_output_stream(self._path(name)) as stream:
                while block := source.read(BLOCK):
                    stream.write(block)

        self._insist(name, upload)

    def download(self, name: str, file: Path, found: Found | None = None) -> None:
        """Bring an object to disk, whole or not at all; what `found` says becomes the file's time of change and is checked.

        Raises:
            FileNotFoundError: there is none.
            OSError: the disk is full.
        """

        def download() -> None:
            with whole_file(file) as temporary:
                with self._filesystem.open_input_stream(self._path(name)) as stream, open(temporary, "wb") as target:
                    while block := stream.read(BLOCK):
                        target.write(block)
                if found and temporary.stat().st_size != found.size:
                    raise OSError(f"{temporary.stat().st_size} bytes came of {found.size}")
            if found:
                os.utime(file, ns=(found.changed, found.changed))

        self._insist(name, download)

    def list(self, under: str = "") -> dict[str, Found]:
        """All objects below a name, ascending by name; none where there is no such folder."""
        top = self._path("")

        def ask() -> dict[str, Found]:
            selector = pyarrow.fs.FileSelector(self._path(under), allow_not_found=True, recursive=True)
            files = [info for info in self._filesystem.get_file_info(selector) if info.type == pyarrow.fs.FileType.File]
            return {info.path.removeprefix(f"{top}/"): Found(info.size, info.mtime_ns or 0) for info in files}

        return dict(sorted(self._insist(under, ask).items()))

    def find(self, name: str) -> Found | None:
        """What a listing would tell of one object; None where there is none."""

        def ask() -> pyarrow.fs.FileInfo:
            return self._filesystem.get_file_info(self._path(name))

        info = self._insist(name, ask)
        return Found(info.size, info.mtime_ns or 0) if info.type == pyarrow.fs.FileType.File else None

    def delete(self, names: Iterable[str]) -> None:
        """Take objects away, in this order; those that are not there are passed over."""
        for name in names:
            try:
                self._insist(name, lambda name=name: self._filesystem.delete_file(self._path(name)))
            except FileNotFoundError:
                continue

    def upload_all(self, files: Mapping[str, Path]) -> None:
        """Put files by name, several at once; returns when all are there."""
        self._at_once(lambda name: self.upload(files[name], name), files)

    def download_all(self, names: Mapping[str, Found], folder: Path) -> None:
        """Bring objects into a folder under their names, several at once."""
        self._at_once(lambda name: self.download(name, folder / name, names[name]), names)

    def _at_once(self, move: Callable[[str], None], names: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            futures = [pool.submit(move, name) for name in names]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    @property
    def _filesystem(self) -> pyarrow.fs.FileSystem:
        scheme, _, rest = self.uri.partition("://")
        return _filesystem(f"{scheme}://{rest.partition('/')[0]}")

    def _path(self, name: str) -> str:
        return inside(self.uri, name).partition("://")[2].rstrip("/")

    def _insist(self, name: str, action: Callable[[], Answer]) -> Answer:
        """Do it, again with doubling pauses while the bucket is away."""
        pause, deadline, told = FIRST_PAUSE, time.monotonic() + self.patience, False
        where = inside(self.uri, name) if name else self.uri
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno is not None:
                    raise  # of this machine's disk, or there is no such object
                told = self._judge(where, error, deadline - time.monotonic(), told)
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _judge(self, where: str, error: OSError, left: float, told: bool) -> bool:
        """Raise what no further attempt mends; else say once that there will be some."""
        reason = _reason(error)
        for word, remedy in REFUSALS.items():
            if word in str(error):
                raise StorageError(f"{where}: {remedy}") from error
        if left <= 0:
            remedy = "start it again when the bucket answers, what was stored before is whole"
            raise StorageError(f"{where}: no answer for {self.patience:.0f} s ({reason}): {remedy}") from error
        if not told:
            LOG.warning("%s: %s; asked again for %.0f s", where, reason, left)
        return True


@cache
def _filesystem(bucket: str) -> pyarrow.fs.FileSystem:
    """Of a bucket's scheme. By URI, since pyarrow asks the environment for the endpoint only then; small objects take one request."""
    options = "?allow_delayed_open=true" if bucket.startswith("s3://") else ""
    return pyarrow.fs.FileSystem.from_uri(f"{bucket}/{options}")[0]


def _reason(error: OSError) -> str:
    """An error's last words, less what differs between requests."""
    words = re.sub(r" \(Request ID: [^)]*\)", "", " ".join(str(error).split()))
    found = re.search(r"AWS Error [A-Z_]+.*?operation: (.*)", words)
    return (found[1] if found else words).split("; Details:")[0][:160]
