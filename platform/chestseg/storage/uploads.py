"""Uploads beside the work: a thread sends a working copy as it changes, in order, and never holds up who works in it."""

import os
import shutil
import tempfile
import threading
from pathlib import Path

from chestseg.storage.working_copy import CHECKPOINTS, WorkingCopy


class Uploads:
    """Sends what a working copy holds whenever it is woken: files first, then the newest checkpoint, which may rely on them.

    While a bucket is slow or away, checkpoints are passed over that a newer one has overtaken.
    """

    def __init__(self, copy: WorkingCopy) -> None:
        self.copy = copy
        self.trouble: Exception | None = None
        self._sent: str | None = None
        self._woken, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to send. Does not wait.

        Raises:
            ValueError, OSError: what an earlier upload met; nothing was sent since, and the bucket holds the last good state.
        """
        if self.trouble:
            raise self.trouble
        self._woken.set()

    def close(self) -> None:
        """Send all there is and end. Raises as `wake`."""
        self._closing.set()
        self._woken.set()
        self._thread.join()
        if self.trouble:
            raise self.trouble

    def _run(self) -> None:
        while not self.trouble:
            self._woken.wait()
            self._woken.clear()
            closing = self._closing.is_set()
            try:
                self._send()
            except FileNotFoundError:  # a file gave way to another while it was read
                self._woken.set()
                continue
            except (ValueError, OSError) as error:
                self.trouble = error
            if closing:
                return

    def _send(self) -> None:
        """The checkpoint is held fast first: what it relies on is then here already, and older ones may go meanwhile."""
        with tempfile.TemporaryDirectory(dir=self.copy.folder, prefix=".") as held:
            newest = self._hold_newest(Path(held))
            self.copy.send()
            if newest:
                self.copy.send_checkpoint(Path(held), newest)
                self._sent = newest

    def _hold_newest(self, held: Path) -> str | None:
        """Link the newest checkpoint's files, which are never written to again; None where it was sent already."""
        while True:
            newest = max(self.copy.folder.glob(f"{CHECKPOINTS}/[!.]*"), default=None)
            if newest is None or newest.name == self._sent:
                return None
            try:
                for file in newest.iterdir():
                    os.link(file, held / file.name)
            except FileNotFoundError:  # a newer one took its place
                shutil.rmtree(held)
                held.mkdir()
                continue
            return newest.name
