"""A replica of the model of volumes, outside Serve: what it tells of itself, and that the front believes it for a minute only."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from chestseg.bundle import save_bundle
from chestseg.config.serving import CtServing
from chestseg.serving import volume_segmenter
from chestseg.serving.front import Refusal
from chestseg.serving.jobs import Jobs
from chestseg.serving.volume_job import SERVED
from chestseg.serving.volume_segmenter import TOLD_WITHIN_S, VolumeSegmenter, open_jobs
from chestseg.serving.volume_service import APP
from chestseg.serving.volumes import Volumes
from chestseg.tracking.environment import connect
from tests.inference.tiny_volume import tiny_network, tiny_spec
from tests.servers import MlflowServer, mlflow_server
from tests.serving.ct_app import settings_for, tiny_ct
from tests.serving.registered import REFERENCE, move, register

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """With a champion, and a version 2 whose golden case is another network's."""
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder) as server:
        sound = tiny_ct(folder / "sound")
        unsound = save_bundle(folder / "unsound", tiny_spec(), tiny_network(seed=7).state_dict(), sound.golden())
        for place, bundle in enumerate((sound, unsound)):
            register(bundle, server.uri, folder / f"run{place}")
        yield server


async def until(jobs: Jobs, found: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not found(told := jobs.served(APP) or {}):
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.05)


def since(jobs: Jobs) -> float:
    with jobs._engine.connect() as connection:
        return connection.execute(sa.select(SERVED.c.since)).scalar_one()


def age(jobs: Jobs, seconds: float) -> None:
    with jobs._engine.begin() as connection:
        connection.execute(sa.update(SERVED).values(since=SERVED.c.since - seconds))


def test_what_every_look_finds_is_told(server: MlflowServer, tmp_path: Path) -> None:
    registry: MlflowClient = connect(server.uri)
    move(registry, "1")
    settings = settings_for(REFERENCE, tmp_path, tracking_uri=server.uri, watch_s=0.2)

    async def live() -> None:
        replica, jobs = VolumeSegmenter(settings), open_jobs(settings)
        try:
            told = jobs.served(APP)
            assert told and told["champion"]["version"] == "1" and told["refused"] == {} and told["registry_reachable"]
            move(registry, "2")
            await until(jobs, lambda told: "golden case is off by" in told["refused"].get("2", ""))
            server.kill()
            await until(jobs, lambda told: not told["registry_reachable"])
            server.start()
            move(registry, "1")
            await until(jobs, lambda told: told["registry_reachable"] and not told["refused"])
            replica.check_health()
        finally:
            replica.worker.stop(0)

    asyncio.run(live())


def test_a_replica_without_an_alias_to_look_at_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_segmenter, "TOLD_EVERY_S", 0.05)
    settings = settings_for(str(tiny_ct(tmp_path / "bundle").folder), tmp_path)

    async def live() -> None:
        replica, jobs = VolumeSegmenter(settings), open_jobs(settings)
        try:
            first, deadline = since(jobs), time.monotonic() + PATIENCE_S
            while since(jobs) == first:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            replica.check_health()
        finally:
            replica.worker.stop(0)

    asyncio.run(live())


@pytest.mark.parametrize("least", [0, 1])
def test_the_front_is_ready_while_a_replica_gives_signs_of_life(tmp_path: Path, least: int) -> None:
    settings: CtServing = settings_for("nowhere", tmp_path, replicas__min=least)
    jobs = open_jobs(settings)

    async def ask() -> list[bool]:
        front, seen = Volumes(None, settings), []  # type: ignore[arg-type]
        for change in (lambda: None, lambda: jobs.announce(APP, {"champion": {}}), lambda: age(jobs, TOLD_WITHIN_S + 1)):
            change()
            try:
                seen.append(front.ready() == {"status": "ready"})
            except Refusal as refusal:
                assert refusal.status == 503 and (least == 1)
                seen.append(False)
        assert front.models() == {"champion": {}}
        return seen

    assert asyncio.run(ask()) == ([False, True, False] if least else [True] * 3)
