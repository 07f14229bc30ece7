"""What a job is, and the tables that jobs and the model at work are kept in."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

State = Literal["queued", "running", "done", "failed", "cancelled"]
ACTIVE = ("queued", "running")

METADATA = sa.MetaData()
JOBS = sa.Table(
    "chestseg_jobs",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("caller", sa.String(200), nullable=False),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("mode", sa.String(10), nullable=False),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("slices", sa.Integer, nullable=False),
    sa.Column("voxels", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("finished", sa.Double),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(32)),
    sa.Column("lease", sa.Double),
    sa.Column("tiles_done", sa.Integer, nullable=False),
    sa.Column("tiles", sa.Integer, nullable=False),
    sa.Column("model", sa.JSON),
    sa.Column("digest", sa.String(64)),
    sa.Column("result", sa.String(70)),
    sa.Column("refusal", sa.Text),
)
QUEUED = JOBS.c.state == "queued"
# Two that send the same at the same time get one job.
sa.Index("chestseg_jobs_once", JOBS.c.caller, JOBS.c.content, JOBS.c.mode, unique=True, sqlite_where=QUEUED, postgresql_where=QUEUED)
sa.Index("chestseg_jobs_next", JOBS.c.state, JOBS.c.created)
SERVED = sa.Table(
    "chestseg_served",
    METADATA,
    sa.Column("app", sa.String(100), primary_key=True),
    sa.Column("model", sa.JSON, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
)


@dataclass(frozen=True)
class Upload:
    """What is asked for: a volume that was received and looked at."""

    caller: str
    content: str
    """SHA-256 of what was sent, 64 digits."""
    mode: str
    """`strict` or `repair`, as for `read_series`."""
    kind: str
    """`nifti` or `series`."""
    slices: int
    voxels: int


@dataclass(frozen=True)
class Job(Upload):
    """A job as the database has it. Times are seconds since 1970."""

    id: str
    state: State
    created: float
    finished: float | None
    expires: float
    attempts: int
    owner: str | None
    """Random for each claim: names who may change the job while it runs."""
    lease: float | None
    tiles_done: int
    tiles: int
    """0 until the first is done."""
    model: dict[str, Any] | None
    """Name, version, run id and digest of the model that works at it, or did."""
    digest: str | None
    result: str | None
    """The folder's name."""
    refusal: str | None
    """Why it failed, one line for its sender."""

    @property
    def active(self) -> bool:
        """Whether an answer may still come."""
        return self.state in ACTIVE


class Load(NamedTuple):
    """Work that is not done."""

    queued: int
    running: int
    queued_voxels: int
    voxels: int
    """Of queued and running jobs."""
