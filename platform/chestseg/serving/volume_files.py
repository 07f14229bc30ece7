"""The folder of uploads and results beside the table of jobs; no name in it comes from outside."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from chestseg.files import require_space
from chestseg.serving.volume_job import ACTIVE, Job, State

STALE_S = 6 * 3600.0
"""Older files that no job knows were left by a process that died: no upload may take that long."""


class VolumeFiles:
    """Uploads at uploads/ID, a folder of numbered files; results at results/ID.OWNER, one for each claim.

    Args:
        folder: made if need be; on a disk that all replicas share where they run on several machines.
        spare_bytes: of that disk that uploads leave free, for results.
    """

    def __init__(self, folder: str | Path, spare_bytes: float = 0) -> None:
        self.spare_bytes = int(spare_bytes)
        self._uploads, self._results = Path(folder) / "uploads", Path(folder) / "results"
        for parent in (self._uploads, self._results):
            parent.mkdir(parents=True, exist_ok=True)

    def require_room(self, more: int = 0) -> None:
        """Whether an upload of `more` bytes would leave what has to stay free.

        Raises:
            NoSpace: it would not.
        """
        require_space(self._uploads, self.spare_bytes + more, "an upload, with what stays free for results,")

    def require_room_for_a_result(self) -> None:
        """Whether work may begin: while half is left, so that uploads alone never stop it, and results do until some expire.

        Raises:
            NoSpace: it may not.
        """
        require_space(self._results, self.spare_bytes // 2, "a result")

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Path]:
        """A new folder for what arrives; gone after the block unless it was kept."""
        folder = Path(tempfile.mkdtemp(prefix=".", dir=self._uploads))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, received: Path, job_id: str) -> None:
        """Make a received folder the upload of a job that is about to be submitted."""
        received.rename(self._uploads / job_id)

    def upload(self, job_id: str) -> Path:
        """Where a job's upload is."""
        return self._uploads / job_id

    def new_result(self, job: Job) -> Path:
        """Where the holder of a claimed job writes its result."""
        return self._results / f"{job.id}.{job.owner}"

    def result(self, job: Job) -> Path:
        """Where a finished job's result is."""
        assert job.result is not None, job.state
        return self._results / job.result

    def drop_upload(self, job_id: str) -> None:
        """Delete what was sent: it is not needed once a job has ended."""
        shutil.rmtree(self._uploads / job_id, ignore_errors=True)

    def forget(self, job_id: str) -> None:
        """Delete all that belongs to a job."""
        self.drop_upload(job_id)
        for folder in [*self._results.glob(f"{job_id}.*"), *self._results.glob(f".{job_id}.*")]:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, state_of: Callable[[str], State | None]) -> None:
        """Delete what processes that died left behind.

        Args:
            state_of: a job's state by its id; None where there is no such job.
        """
        for folder in (*self._uploads.iterdir(), *self._results.iterdir()):
            job_id = folder.name.lstrip(".").partition(".")[0]
            state = state_of(job_id)
            if state is None and _age_s(folder) > STALE_S:
                shutil.rmtree(folder, ignore_errors=True)
            elif state not in (None, *ACTIVE) and folder.parent == self._uploads:
                self.drop_upload(job_id)


def _age_s(folder: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime
    return 0.0
