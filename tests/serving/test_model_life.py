"""A model's life: the alias moves, versions prove themselves beside the old one, and an unsound one changes nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from chestseg.bundle import Bundle, save_bundle
from chestseg.serving.model_life import ModelLife
from chestseg.tracking.environment import connect
from chestseg.tracking.promotion import CHAMPION
from tests.inference.tiny import tiny_network, tiny_spec
from tests.servers import MlflowServer, mlflow_server
from tests.serving.registered import MODEL, move, register
from tests.serving.served import tiny_bundle


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: MlflowServer) -> MlflowClient:
    return connect(server.uri)


@pytest.fixture(scope="module")
def versions(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two sound ones, and one whose golden case is another network's."""
    folder = tmp_path_factory.mktemp("versions")
    sound = [tiny_bundle(folder / f"sound{seed}", seed) for seed in (0, 1)]
    other = sound[0].golden()
    assert other
    unsound = save_bundle(folder / "unsound", tiny_spec(), tiny_network(seed=7).state_dict(), other)
    return [register(bundle, server.uri, folder / f"run{place}") for place, bundle in enumerate([*sound, unsound])]


class Loading:
    """Counts, and may refuse."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def __call__(self, bundle: Bundle) -> str:
        self.digests.append(bundle.digest)
        return bundle.digest


def life_of(server: MlflowServer, cache: Path, alias: str = CHAMPION, withdrawable: bool = False) -> tuple[ModelLife[str], Loading]:
    loading = Loading()
    return ModelLife(f"models:/{MODEL}@{alias}", server.uri, loading, cache, withdrawable=withdrawable), loading


def test_the_alias_is_followed(server: MlflowServer, client: MlflowClient, versions: list[str], tmp_path: Path) -> None:
    move(client, versions[0])
    life, loading = life_of(server, tmp_path)
    first = life.start()
    assert (first.source.name, first.source.version) == (MODEL, versions[0])
    assert first.source.run_id == client.get_model_version(MODEL, versions[0]).run_id
    assert not life.look()
    move(client, versions[1])
    assert life.look() and life.current.source.version == versions[1]
    # A request that holds the version it began with still can use it.
    assert first.predictor == loading.digests[0] != loading.digests[1] == life.current.predictor


def test_an_unsound_version_is_tried_once(server: MlflowServer, client: MlflowClient, versions: list[str], tmp_path: Path) -> None:
    move(client, versions[0])
    life, loading = life_of(server, tmp_path)
    before = life.start()
    move(client, versions[2])
    assert not life.look() and not life.look()
    assert life.current is before and "golden case is off by" in life.refused[versions[2]]
    assert len(loading.digests) == 1
    # Another process that starts now serves what was served last here.
    again, _ = life_of(server, tmp_path)
    assert again.start().source == before.source and list(again.refused) == [versions[2]]
    move(client, versions[0])
    assert not life.look() and life.refused == {}


def test_without_the_registry_the_version_stays(server: MlflowServer, client: MlflowClient, versions: list[str], tmp_path: Path) -> None:
    move(client, versions[1])
    life, _ = life_of(server, tmp_path)
    served = life.start()
    server.kill()
    try:
        assert not life.look() and life.current is served and not life.reachable
        again, _ = life_of(server, tmp_path)
        assert again.start().source == served.source
        with pytest.raises(ValueError, match="MLflow can't be used there"):
            life_of(server, tmp_path / "nothing was served here")[0].start()
    finally:
        server.start()
    assert not life.look() and life.reachable


def test_a_champion_without_its_alias_stays(server: MlflowServer, client: MlflowClient, versions: list[str], tmp_path: Path) -> None:
    move(client, versions[0], "needed")
    life, _ = life_of(server, tmp_path, "needed")
    served = life.start()
    client.delete_registered_model_alias(MODEL, "needed")
    assert not life.look() and life.current is served
    assert life_of(server, tmp_path, "needed")[0].start().source == served.source


def test_a_candidate_without_its_alias_is_withdrawn(
    server: MlflowServer, client: MlflowClient, versions: list[str], tmp_path: Path
) -> None:
    def start() -> ModelLife[str]:
        return life_of(server, tmp_path, "tried", withdrawable=True)[0]

    move(client, versions[1], "tried")
    life = start()
    life.start()
    server.kill()
    try:
        assert not life.look() and life.served and not life.reachable
        assert start().start().source == life.served.source
    finally:
        server.start()
    client.delete_registered_model_alias(MODEL, "tried")
    assert life.look() and life.served is None and life.reachable
    assert not life.look()
    again = start()
    with pytest.raises(ValueError, match="no version has this alias"):
        again.start()
    assert again.served is None and not list((tmp_path / "served").iterdir())
    move(client, versions[0], "tried")
    assert life.look() and again.look() and again.current.source.version == versions[0]


def test_a_candidate_withdrawn_while_nothing_ran_is_not_brought_back(
    server: MlflowServer, client: MlflowClient, versions: list[str], tmp_path: Path
) -> None:
    move(client, versions[1], "tried")
    life_of(server, tmp_path, "tried", withdrawable=True)[0].start()
    client.delete_registered_model_alias(MODEL, "tried")
    with pytest.raises(ValueError, match="no version has this alias"):
        life_of(server, tmp_path, "tried", withdrawable=True)[0].start()


def test_a_folder_is_not_watched(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    life = ModelLife(str(bundle.folder), None, Loading(), tmp_path / "cache")
    assert life.start().describe() == {"name": "tiny", "version": None, "run_id": None, "digest": bundle.digest}
    assert not life.watched and not (tmp_path / "cache").exists()


def test_nothing_sound_is_nothing_served(tmp_path: Path) -> None:
    golden = tiny_bundle(tmp_path / "other").golden()
    assert golden
    without = save_bundle(tmp_path / "without", tiny_spec(), tiny_network().state_dict())
    wrong = save_bundle(tmp_path / "wrong", tiny_spec(), tiny_network().state_dict(), golden._replace(image=np.zeros_like(golden.image)))
    for bundle, finding in ((without, "carries no golden case"), (wrong, "golden case is off by")):
        with pytest.raises(ValueError, match=finding):
            ModelLife(str(bundle.folder), None, Loading()).start()
