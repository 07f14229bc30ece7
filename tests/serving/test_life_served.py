"""Under traffic: the alias moves, an unsound version is promoted, a replica is killed; no request fails and each is of one version."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import httpx
import numpy as np
import pytest
import ray
from mlflow import MlflowClient

from chestseg.arrays.rle import encode_rle
from chestseg.bundle import Bundle, save_bundle
from chestseg.config.serving import CxrServing
from chestseg.inference.predictor import Predictor
from chestseg.serving.radiographs import radiographs
from chestseg.tracking.environment import connect
from tests.inference.tiny import tiny_network, tiny_spec
from tests.servers import MlflowServer, mlflow_server
from tests.serving.registered import REFERENCE, move, register
from tests.serving.served import ServePort, tiny_bundle

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def registry(server: MlflowServer) -> MlflowClient:
    return connect(server.uri)


@pytest.fixture(scope="module")
def bundles(server: MlflowServer, registry: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Versions 1 and 2 are sound, 3 has another network's golden case; 1 is the champion."""
    folder = tmp_path_factory.mktemp("bundles")
    sound = [tiny_bundle(folder / f"sound{seed}", seed) for seed in (0, 1)]
    unsound = save_bundle(folder / "unsound", tiny_spec(), tiny_network(seed=7).state_dict(), sound[0].golden())
    made = [*sound, unsound]
    assert [register(bundle, server.uri, folder / f"run{place}") for place, bundle in enumerate(made)] == ["1", "2", "3"]
    move(registry, "1")
    return made


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (100, 80), dtype=np.uint8), (0, 0), 2)


@pytest.fixture(scope="module")
def expected(bundles: list[Bundle], picture: np.ndarray) -> dict[str, str]:
    """What `predict` says, by version."""
    return {str(n): encode_rle(Predictor(bundle, device="cpu").predict([picture])[0].mask) for n, bundle in enumerate(bundles, 1)}


@pytest.fixture(scope="module")
def client(
    serve_port: ServePort, server: MlflowServer, bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    assert bundles
    settings = CxrServing.model_validate(
        {
            "model": REFERENCE,
            "tracking_uri": server.uri,
            "cache": str(tmp_path_factory.mktemp("cache")),
            "watch_s": 0.5,
            "replicas": {"min": 2, "max": 2},
            "compute": {"device": "cpu"},
            "limits": {"seconds": PATIENCE},
        }
    )
    with serve_port.running(radiographs(settings), "life") as client:
        yield client


class Traffic:
    """Requests one after the other from several clients, and all their answers."""

    def __init__(self, client: httpx.Client, content: bytes) -> None:
        self.answers: list[httpx.Response] = []
        self._client, self._content, self._stop = client, content, threading.Event()

    @contextmanager
    def running(self, clients: int = 3) -> Iterator["Traffic"]:
        with ThreadPoolExecutor(clients) as pool:
            sending = [pool.submit(self._send) for _ in range(clients)]
            try:
                yield self
            finally:
                self._stop.set()
            for one in sending:
                one.result()

    @property
    def versions(self) -> list[str]:
        return [answer.json()["model"]["version"] for answer in self.answers]

    def _send(self) -> None:
        while not self._stop.is_set():
            self.answers.append(self._client.post("v1/segment", content=self._content))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def content(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def check(traffic: Traffic, expected: dict[str, str]) -> None:
    assert {answer.status_code for answer in traffic.answers} == {200}
    said = [answer.json() for answer in traffic.answers]
    assert [one["rle"] for one in said] == [expected[one["model"]["version"]] for one in said]


def test_the_alias_moves_under_traffic(client: httpx.Client, registry: MlflowClient, content: bytes, expected: dict[str, str]) -> None:
    assert expected["1"] != expected["2"]
    with Traffic(client, content).running() as traffic:
        wait_until(lambda: len(traffic.answers) > 5)
        move(registry, "2")
        # Each of the two replicas looks for itself.
        wait_until(lambda: len(traffic.answers) > 50 and set(traffic.versions[-40:]) == {"2"})
    check(traffic, expected)
    assert set(traffic.versions) == {"1", "2"}


def test_an_unsound_version_is_not_served(client: httpx.Client, registry: MlflowClient, content: bytes, expected: dict[str, str]) -> None:
    before = client.get("v1/models").json()["champion"]["version"]
    with Traffic(client, content).running() as traffic:
        move(registry, "3")
        wait_until(lambda: "3" in client.get("v1/models").json()["refused"])
    check(traffic, expected)
    assert set(traffic.versions) == {before}
    move(registry, before)


def test_a_replica_dies_under_its_requests(client: httpx.Client, content: bytes, expected: dict[str, str]) -> None:
    def replicas() -> list[str]:
        return [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if "life#Segmenter" in actor["name"]]

    before = replicas()
    assert len(before) == 2
    with Traffic(client, content).running() as traffic:
        wait_until(lambda: len(traffic.answers) > 5)
        ray.kill(ray.get_actor(before[0], namespace="serve"))
        killed_at = len(traffic.answers)
        wait_until(lambda: len(traffic.answers) > killed_at + 20)
    check(traffic, expected)


def test_the_registry_goes_away(client: httpx.Client, server: MlflowServer, content: bytes, expected: dict[str, str]) -> None:
    server.kill()
    try:
        with Traffic(client, content).running() as traffic:
            wait_until(lambda: not client.get("v1/models").json()["registry_reachable"])
        check(traffic, expected)
    finally:
        server.start()
