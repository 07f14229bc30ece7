"""Promotions to one model take turns, since MLflow moves an alias without asking what it was.

Two kinds of lock. A file, held by `flock`: for all processes that see the file, on one machine or on a file system that carries locks to
others (NFS 4 does). A PostgreSQL advisory lock: for all who connect to that database, wherever they run. Both are let go of by the system
when the holder ends, however it ends.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from chestseg.config import Experiment
from chestseg.config.location import is_uri
from chestseg.tracking.environment import checked_uri, explained

PATIENCE = 60.0
"""Seconds to wait for others, whose turns take a few requests each."""
LOOK_AGAIN = 0.1
POSTGRESQL = "postgresql"
DRIVER = "postgresql+psycopg2"
"""Where the URI names none: SQLAlchemy 2.1 would look for psycopg 3."""


def lock_of(experiment: Experiment) -> str:
    """The lock that promotions of the experiment's model take turns by: a file's path or a database's URI.

    Raises:
        ValueError: a URI with a password in it, or none is named where none follows.
    """
    uri, named = checked_uri(experiment.tracking.uri), experiment.gate.lock
    if named:
        return checked_uri(named) if "://" in named else named
    if uri.startswith(POSTGRESQL):
        return uri
    if uri.startswith("sqlite:"):
        return uri.removeprefix("sqlite:///").partition("?")[0] + ".promotion.lock"
    if is_uri(experiment.storage):
        raise ValueError(
            f"gate.lock: {experiment.storage} cannot hold a lock: name a file that all who promote share, or postgresql://HOST/DB"
        )
    return str(Path(experiment.storage, f"{experiment.tracking.model}.promotion.lock"))


def scope_of(lock: str) -> str:
    """Whom a lock holds apart, in words."""
    if "://" in lock:
        parts = urlsplit(lock)
        return f"all who connect to PostgreSQL on {parts.hostname or 'this machine'}, database {parts.path[1:]}"
    return f"all who see the file {Path(lock).name}"


@contextlib.contextmanager
def turn(lock: str, model: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold `lock` for `model` during the block.

    Raises:
        ValueError: somebody else held it for `patience` seconds, or it can't be had at all.
    """
    kind = urlsplit(lock).scheme.partition("+")[0] if "://" in lock else "file"
    if kind not in ("file", POSTGRESQL):
        raise ValueError(f"gate.lock {lock}: give the path of a file, or postgresql://HOST/DATABASE")
    with _advisory(lock, model, patience) if kind == POSTGRESQL else _file(Path(lock), patience):
        yield


@contextlib.contextmanager
def _file(path: Path, patience: float) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _taken(str(path), patience) from None
                time.sleep(LOOK_AGAIN)
        yield


@contextlib.contextmanager
def _advisory(uri: str, model: str, patience: float) -> Iterator[None]:
    """The connection is the lock: it is closed, and the lock gone, when this process is."""
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    with contextlib.ExitStack() as stack:
        with explained(uri):
            url = make_url(uri)
            driven = url if "+" in url.drivername else url.set(drivername=DRIVER)
            engine = create_engine(driven, poolclass=NullPool, isolation_level="AUTOCOMMIT")
            connection = stack.enter_context(engine.connect())
            connection.execute(text(f"SET lock_timeout = {int(patience * 1000)}"))
            try:
                connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:key, 0))"), {"key": f"chestseg promotes {model}"})
            except OperationalError as error:
                if "lock timeout" in str(error):
                    raise _taken(uri, patience) from None
                raise
        yield


def _taken(lock: str, patience: float) -> ValueError:
    return ValueError(f"{lock}: another promotion holds it since {patience:g} s: wait for it, or end it if it hangs")
