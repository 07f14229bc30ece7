"""Which version of a model is served: the alias is watched, a new version is loaded and proved beside the old, then takes its place."""

import asyncio
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from chestseg.bundle import Bundle, load_bundle
from chestseg.config import Tracking
from chestseg.files import whole_file
from chestseg.inference.golden import check_golden
from chestseg.inference.locate import open_bundle

URI_VARIABLE = "MLFLOW_TRACKING_URI"
MOST_PATIENT = 3
"""While the registry does not answer, looks come up to 2^3 times more seldom."""

P = TypeVar("P")

logger = logging.getLogger("chestseg.serving")


class Unnamed(ValueError):
    """The registry answered: no version has the alias."""


@dataclass(frozen=True)
class Source:
    """What a version is called, and where its bundle is."""

    name: str
    version: str | None
    """Of the registry; None for a folder."""
    run_id: str | None
    digest: str
    """SHA-256 of bundle.json, which holds those of all other files."""
    folder: str


@dataclass(frozen=True)
class Served(Generic[P]):
    """One version, ready. A request keeps the one it started with to its end."""

    predictor: P
    bundle: Bundle
    source: Source

    def describe(self) -> dict[str, str | None]:
        """What answers and `/v1/models` say of it: name, version, run_id, digest."""
        return {key: value for key, value in dataclasses.asdict(self.source).items() if key != "folder"}


class ModelLife(Generic[P]):
    """Serves `current` from `start` on; `look` moves it.

    Nothing unproved is served: checksums, then the golden case in float32 on the CPU, then a warm-up, all while the old version
    answers. A version that fails is remembered and not tried again until the alias has moved. While the registry is away the version
    stays, and a process that starts then, or while the alias names an unsound version, serves what its machine served last. So it does
    while the alias is gone, unless `withdrawable`: then nothing is served, and what was is forgotten.

    Args:
        reference: a bundle's folder, `models:/NAME@ALIAS`, which is watched, or another MLflow URI, which is not.
        tracking_uri: of MLflow; MLFLOW_TRACKING_URI or `config.Tracking`'s default when None.
        load: makes a warm predictor of a sound bundle. A ValueError of it counts as unsound.
        cache: where versions and the memory of the last one are kept; the user's cache folder when None.
        withdrawable: whether taking the alias away takes the version away, as for a candidate; a champion is needed, and stays.
    """

    def __init__(
        self,
        reference: str,
        tracking_uri: str | None,
        load: Callable[[Bundle], P],
        cache: str | Path | None = None,
        *,
        withdrawable: bool = False,
    ) -> None:
        self.reference, self.withdrawable = reference, withdrawable
        self.tracking_uri = tracking_uri or os.environ.get(URI_VARIABLE) or Tracking().uri
        self._load = load
        self._cache = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "chestseg"
        self._current: Served[P] | None = None
        self.refused: dict[str, str] = {}
        """Why versions are not served that the alias named; emptied when it names a sound one."""
        self.reachable = True
        """Whether the registry answered the last look."""

    @property
    def current(self) -> Served[P]:
        """What is served now."""
        assert self._current, "start first"
        return self._current

    @property
    def served(self) -> Served[P] | None:
        """What is served now; None where that is nothing, yet or any more."""
        return self._current

    @property
    def watched(self) -> bool:
        """Whether the reference can come to mean another version."""
        return self.reference.startswith("models:/") and "@" in self.reference

    def start(self) -> Served[P]:
        """Load the first version; takes as long as that takes.

        Raises:
            ValueError: there is none, or it is unsound, and none was served before.
        """
        if not self.watched:
            bundle = open_bundle(self.reference, self.tracking_uri)
            self._current = self._prove(Source(bundle.spec.name, _number(self.reference), None, bundle.digest, str(bundle.folder)))
            return self._current
        try:
            self.look(or_raise=True)
        except ValueError as error:
            before = self._remembered()
            if before is None or (self.withdrawable and isinstance(error, Unnamed)):
                raise
            logger.warning("starting with version %s, served last on this machine: %s", before.version, error)
            self._current = self._prove(before)
        return self.current

    def look(self, *, or_raise: bool = False) -> bool:
        """Look at the alias once; returns whether another version is served now. Blocks while one is loaded, so call it in a thread.

        Args:
            or_raise: pass on the ValueError that says why there is no new version, instead of keeping the old.
        """
        version = None
        try:
            version, run_id = self._named()
            self.reachable = True
            if self._current and (version, run_id) == (self._current.source.version, self._current.source.run_id):
                self.refused.clear()
                return False
            if version in self.refused:
                return False
            source = self._fetch(version, run_id)
        except ValueError as error:
            if self.withdrawable and isinstance(error, Unnamed):
                return self._withdraw(error, or_raise)
            if self.reachable:
                logger.warning("the version stays: %s", error)
            self.reachable = False
            if or_raise:
                raise
            return False
        try:
            self._current = self._prove(source)
        except ValueError as error:
            self.refused[version] = " ".join(str(error).split())
            logger.error("version %s is refused, the one before it stays: %s", version, error)
            if or_raise:
                raise
            return False
        self.refused.clear()
        return True

    async def watch(self, every_s: float, looked: Callable[[], None] = lambda: None) -> None:
        """Look again and again until cancelled; `looked` is called in the loop after each look, whatever came of it."""
        away = 0
        while self.watched:
            # Replicas that started together shall not ask, nor load, at the same moment.
            await asyncio.sleep(every_s * random.uniform(0.75, 1.25) * 2 ** min(away, MOST_PATIENT))
            await asyncio.to_thread(self.look)
            looked()
            away = 0 if self.reachable else away + 1

    def _withdraw(self, why: Unnamed, or_raise: bool) -> bool:
        """Serve nothing, here and in processes that start later; returns whether something was."""
        self.reachable, before, self._current = True, self._current, None
        self.refused.clear()
        self._memory.unlink(missing_ok=True)
        if before:
            logger.warning("version %s is withdrawn: %s", before.source.version, why)
        if or_raise:
            raise why
        return before is not None

    def _named(self) -> tuple[str, str | None]:
        """Version and run that the alias names now."""
        # MLflow takes seconds to import and a folder needs none of it.
        from chestseg.tracking.environment import explained, reach
        from chestseg.tracking.registry import version_of

        name, _, alias = self.reference.removeprefix("models:/").partition("@")
        client = reach(self.tracking_uri)
        with explained(self.tracking_uri):
            found = version_of(client, name, alias)
        if found is None:
            raise Unnamed(f"{self.reference}: no version has this alias at {self.tracking_uri}: promote one, or name another")
        return str(found.version), found.run_id or None

    def _fetch(self, version: str, run_id: str | None) -> Source:
        from chestseg.tracking.registry import download_bundle

        name = self.reference.removeprefix("models:/").partition("@")[0]
        with _alone(self._cache):
            folder = download_bundle(f"models:/{name}/{version}", self.tracking_uri, cache=self._cache / "bundles")
        return Source(name, version, run_id, load_bundle(folder).digest, str(folder))

    def _prove(self, source: Source) -> Served[P]:
        start = time.perf_counter()
        bundle = load_bundle(source.folder)
        check_golden(bundle)
        served = Served(self._load(bundle), bundle, source)
        if self.watched:
            with whole_file(self._memory) as temporary:
                temporary.write_text(json.dumps(dataclasses.asdict(source)), encoding="utf-8")
        took = time.perf_counter() - start
        logger.info("serving %s version %s (%s), loaded and proved in %.1f s", source.name, source.version, source.digest[:12], took)
        return served

    def _remembered(self) -> Source | None:
        return Source(**json.loads(self._memory.read_text(encoding="utf-8"))) if self._memory.is_file() else None

    @property
    def _memory(self) -> Path:
        key = hashlib.sha256(f"{self.tracking_uri}\n{self.reference}".encode()).hexdigest()[:16]
        return self._cache / "served" / f"{key}.json"


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One download at a time on this machine: the second of two replicas finds what the first has fetched."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".fetching", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _number(reference: str) -> str | None:
    """The version in `models:/NAME/VERSION`."""
    last = reference.rpartition("/")[2]
    return last if reference.startswith("models:/") and last.isdigit() else None
