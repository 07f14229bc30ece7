"""The jobs of the CT endpoint in a database: whose each is, who works at it, how far it is, what became of it.

Every change is one statement that names the state it expects, so any number of processes may make them at once, in SQLite and in
PostgreSQL. A worker holds a job by a lease that it renews; when it dies, the lease runs out and another claims the job. Leases are
compared by the clocks of those who ask: clocks of several machines have to agree to a fraction of `lease_s`.
"""

import contextlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection

from chestseg.serving.volume_job import ACTIVE, JOBS, METADATA, QUEUED, SERVED, Job, Load, State, Upload

AWAY = (OperationalError, InterfaceError, NoConnection)
"""What a database raises that is away, full, locked for too long or asked by too many."""
BUSY_S = 30.0
"""How long SQLite waits for another writer."""
WAITS_S = 7 * 86_400.0
"""A job that nobody claimed for so long is given up."""
WORN_OUT = "segmenting it ended its process {attempts} times: it is not tried again; report the job's id to whoever runs this service"


class Jobs:
    """The table of jobs.

    Args:
        url: SQLAlchemy's, of SQLite or PostgreSQL; tables are made where they are missing.
        lease_s: how long a job stays with a worker that no longer renews it.
        keep_s: how long a job is kept after it ended, or was asked for again.
        attempts: claims of one job before it counts as one that ends its worker.
    """

    def __init__(self, url: str, *, lease_s: float = 30.0, keep_s: float = 86_400.0, attempts: int = 3) -> None:
        self.lease_s, self.keep_s, self.attempts = lease_s, keep_s, attempts
        self._engine = _connect(url)

    def submit(self, upload: Upload, digest: str | None, job_id: str) -> Job:
        """A new job, or the one that the same caller has for the same content under the model that is served; its id tells which.

        Args:
            upload: what was received.
            digest: of the model that is served, None where none is known yet.
            job_id: of a new job, as `new_id` makes them.
        """
        while True:
            known = self._again(upload, digest)
            if known is not None:
                return known
            now = time.time()
            row = vars(upload) | {"id": job_id, "state": "queued", "created": now, "expires": now + WAITS_S}
            with contextlib.suppress(IntegrityError), self._engine.begin() as connection:
                made = connection.execute(sa.insert(JOBS).values(**row, attempts=0, tiles_done=0, tiles=0).returning(*JOBS.c)).one()
                return Job(**made._mapping)

    def _again(self, upload: Upload, digest: str | None) -> Job | None:
        """The caller's job for the same content, kept anew: queued, or claimed by the model of `digest` and not failed or cancelled."""
        now = time.time()
        alike = sa.and_(*(JOBS.c[key] == getattr(upload, key) for key in ("caller", "content", "mode")))
        by_model = sa.and_(JOBS.c.state.in_(("running", "done")), JOBS.c.digest == digest, JOBS.c.expires > now)
        expires = sa.case((JOBS.c.state == "done", now + self.keep_s), else_=now + WAITS_S)
        kept = sa.update(JOBS).where(alike, sa.or_(QUEUED, by_model)).values(expires=expires)
        return self._one(kept.returning(*JOBS.c))

    def get(self, job_id: str, caller: str) -> Job | None:
        """A caller's own job that has not expired."""
        return self._one(sa.select(JOBS).where(*_own(job_id, caller), JOBS.c.expires > time.time()))

    def cancel(self, job_id: str, caller: str) -> Job | None:
        """End a job that is queued or runs; None where it was neither. One that has an owner is told when it renews its lease."""
        ended = {"state": "cancelled"} | self._ended()
        return self._one(sa.update(JOBS).where(*_own(job_id, caller), JOBS.c.state.in_(ACTIVE)).values(**ended).returning(*JOBS.c))

    def claim(self, model: Mapping[str, Any]) -> Job | None:
        """Take the oldest job that waits, or whose worker died, for the lease's time; None where there is none.

        Args:
            model: what will work at it, with its `digest`.
        """
        now = time.time()
        ready = sa.or_(QUEUED, sa.and_(JOBS.c.state == "running", JOBS.c.lease < now))
        first = sa.select(JOBS.c.id).where(ready, JOBS.c.attempts < self.attempts, JOBS.c.expires > now).order_by(JOBS.c.created).limit(1)
        taken: dict[str, Any] = {"state": "running", "owner": secrets.token_hex(16), "lease": now + self.lease_s}
        taken |= {"model": dict(model), "digest": model["digest"], "tiles_done": 0, "tiles": 0, "attempts": JOBS.c.attempts + 1}
        one = first.with_for_update(skip_locked=True).scalar_subquery()
        return self._one(sa.update(JOBS).where(JOBS.c.id == one).values(**taken).returning(*JOBS.c))

    def renew(self, job: Job, done: int, tiles: int) -> bool:
        """Keep a claimed job for another lease and say how far it is; False where it was cancelled or is another's."""
        return self._held(job, lease=time.time() + self.lease_s, tiles_done=done, tiles=tiles)

    def finish(self, job: Job, result: str, tiles: int = 0) -> bool:
        """Give a claimed job its result; False where it is no longer held, and the result is nobody's."""
        return self._held(job, state="done", result=result, tiles_done=tiles, tiles=tiles, **self._ended())

    def fail(self, job: Job, refusal: str) -> bool:
        """End a claimed job without a result."""
        return self._held(job, state="failed", refusal=refusal, **self._ended())

    def hand_back(self, job: Job) -> bool:
        """Let another worker do a claimed job, at once and without counting this attempt."""
        # Where the same was sent again meanwhile, that job is queued, and this one waits until its lease ends.
        with contextlib.suppress(IntegrityError):
            return self._held(job, state="queued", owner=None, lease=None, model=None, digest=None, attempts=job.attempts - 1)
        return False

    def forget(self, job: Job) -> bool:
        """Delete an ended job's row; its files are `VolumeFiles`'s."""
        return self._change(sa.delete(JOBS).where(JOBS.c.id == job.id, JOBS.c.state == job.state, JOBS.c.expires == job.expires))

    def give_up(self) -> None:
        """Fail the jobs that ended as many workers as allowed."""
        worn = (JOBS.c.state == "running", JOBS.c.lease < time.time(), JOBS.c.attempts >= self.attempts)
        self._change(sa.update(JOBS).where(*worn).values(state="failed", refusal=WORN_OUT.format(attempts=self.attempts), **self._ended()))

    def expired(self) -> list[Job]:
        """Jobs to forget."""
        now = time.time()
        return self._all(sa.and_(JOBS.c.expires < now, sa.or_(JOBS.c.state != "running", JOBS.c.lease < now)))

    def of_all(self) -> list[Job]:
        """Every job there is."""
        return self._all(sa.true())

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def state_of(self, job_id: str) -> State | None:
        """A job's state, whoever's it is; None where there is none."""
        job = self._one(sa.select(JOBS).where(JOBS.c.id == job_id))
        return None if job is None else job.state

    def load(self) -> Load:
        """How much there is to do."""
        count = sa.select(JOBS.c.state, sa.func.count(), sa.func.sum(JOBS.c.voxels)).where(JOBS.c.state.in_(ACTIVE)).group_by(JOBS.c.state)
        with self._engine.connect() as connection:
            found = {state: (int(jobs), int(voxels)) for state, jobs, voxels in connection.execute(count)}
        (queued, waiting), (running, working) = found.get("queued", (0, 0)), found.get("running", (0, 0))
        return Load(queued, running, waiting, waiting + working)

    def ahead(self, job: Job) -> int:
        """How many queued jobs are older."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).where(QUEUED, JOBS.c.created < job.created)).scalar_one()

    def announce(self, app: str, model: Mapping[str, Any]) -> None:
        """Tell all processes of an app which model is served."""
        row = {"model": dict(model), "since": time.time()}
        if not self._change(sa.update(SERVED).where(SERVED.c.app == app).values(**row)):
            with contextlib.suppress(IntegrityError), self._engine.begin() as connection:
                connection.execute(sa.insert(SERVED).values(app=app, **row))

    def served(self, app: str, within_s: float | None = None) -> dict[str, Any] | None:
        """The model that was announced last; None where none was, or none within so many seconds until now.

        What was announced outlives who announced it: without `within_s` it may be of replicas that ended long ago.
        """
        wanted = [SERVED.c.app == app] + ([] if within_s is None else [SERVED.c.since > time.time() - within_s])
        with self._engine.connect() as connection:
            return connection.execute(sa.select(SERVED.c.model).where(*wanted)).scalar_one_or_none()

    def _ended(self) -> dict[str, Any]:
        now = time.time()
        return {"finished": now, "expires": now + self.keep_s}

    def _held(self, job: Job, **values: Any) -> bool:
        return self._change(
            sa.update(JOBS).where(JOBS.c.id == job.id, JOBS.c.owner == job.owner, JOBS.c.state == "running").values(**values)
        )

    def _change(self, statement: Any) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount > 0

    def _all(self, condition: Any) -> list[Job]:
        with self._engine.connect() as connection:
            return [Job(**row._mapping) for row in connection.execute(sa.select(JOBS).where(condition))]

    def _one(self, statement: Any) -> Job | None:
        with self._engine.begin() as connection:
            row = connection.execute(statement).first()
        return None if row is None else Job(**row._mapping)


def why_away(error: Exception) -> str:
    """The driver's words on one of `AWAY`, for logs: SQLAlchemy's own hold what was asked of the database."""
    return " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())


def new_id() -> str:
    """128 random bits: ids can't be guessed and say nothing."""
    return secrets.token_hex(16)


def _own(job_id: str, caller: str) -> tuple[Any, Any]:
    return JOBS.c.id == job_id, JOBS.c.caller == caller


def _connect(url: str) -> sa.Engine:
    sqlite = sa.make_url(url).get_backend_name() == "sqlite"
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_S} if sqlite else {}, pool_pre_ping=not sqlite)
    if sqlite:
        event.listen(engine, "connect", _write_ahead)
    try:
        METADATA.create_all(engine)
    except (IntegrityError, OperationalError, ProgrammingError):
        # Another process made them meanwhile; where that is not so, this raises again.
        METADATA.create_all(engine)
    return engine


def _write_ahead(connection: Any, _: Any) -> None:
    """Readers and the writer don't wait for each other."""
    connection.execute("PRAGMA journal_mode=WAL").close()
