"""Only the gate moves the champion, one at a time, and it says why first. On SQLite and on PostgreSQL."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from chestseg.config import Tracking
from chestseg.tracking.environment import connect
from chestseg.tracking.promotion import CHAMPION, PREVIOUS, Contender, Turn, Verdict, promote, roll_back, version_under
from chestseg.tracking.registry import CANDIDATE
from chestseg.tracking.turns import turn
from tests.servers import mlflow_server, postgresql

Add = Callable[..., str]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server's URI, and the lock of those who promote there."""
    if request.param == "sqlite":
        yield request.getfixturevalue("mlflow_server"), str(tmp_path_factory.mktemp("lock") / "promotion.lock")
        return
    with postgresql() as database, mlflow_server(tmp_path_factory.mktemp("on-postgresql"), database) as server:
        yield server.uri, database


@pytest.fixture
def tracking(registry: tuple[str, str], request: pytest.FixtureRequest) -> Tracking:
    return Tracking(uri=registry[0], model=request.node.name.partition("[")[0].replace("_", "-")[:40])


@pytest.fixture
def client(registry: tuple[str, str]) -> MlflowClient:
    return connect(registry[0])


@pytest.fixture
def my_turn(registry: tuple[str, str], tracking: Tracking) -> Turn:
    return lambda: turn(registry[1], tracking.model or "")


@pytest.fixture
def add(client: MlflowClient, tracking: Tracking) -> Add:
    def add_candidate(score: float) -> str:
        model = tracking.model or ""
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model)
        run = client.create_run("0")
        tags = {"score": str(score)}
        version = str(client.create_model_version(model, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags).version)
        client.set_registered_model_alias(model, CANDIDATE, version)
        return version

    return add_candidate


def by_score(candidate: Contender, champion: Contender | None) -> Verdict:
    better = champion is None or float(candidate.tags["score"]) > float(champion.tags["score"])
    return Verdict(
        better, f"version {candidate.version} {'is better' if better else 'stays candidate'}", {"score": candidate.tags["score"]}
    )


def aliases(client: MlflowClient, tracking: Tracking) -> tuple[str | None, str | None]:
    return version_under(client, tracking.model or "", CHAMPION), version_under(client, tracking.model or "", PREVIOUS)


def test_first_champion_then_a_better_one_then_back(client: MlflowClient, tracking: Tracking, add: Add, my_turn: Turn) -> None:
    add(0.5)
    assert promote(tracking, by_score, my_turn).promoted
    assert aliases(client, tracking) == ("1", None)
    assert promote(tracking, by_score, my_turn).reason == "version 1 is the champion already"
    with pytest.raises(ValueError, match="has no champion before version 1"):
        roll_back(tracking, my_turn)
    add(0.4)
    assert promote(tracking, by_score, my_turn).reason == "version 2 stays candidate"
    assert aliases(client, tracking) == ("1", None)
    assert client.get_model_version(tracking.model or "", "2").tags["promotion"] == "refused"
    add(0.6)
    assert promote(tracking, by_score, my_turn, {"lock_scope": "here"}).promoted
    assert aliases(client, tracking) == ("3", "1")
    version = client.get_model_version(tracking.model or "", "3")
    assert (version.tags["promotion"], version.tags["promotion_reason"]) == ("promoted", "version 3 is better")
    mlflow.set_tracking_uri(tracking.uri)
    record = json.loads(mlflow.artifacts.load_text(f"runs:/{version.run_id}/{version.tags['promotion_evidence']}"))
    assert (record["decision"], record["candidate"]["version"], record["champion"]["version"]) == ("promoted", "3", "1")
    assert (record["score"], record["lock_scope"]) == ("0.6", "here")

    assert roll_back(tracking, my_turn).reason == "version 1 is champion again in place of version 3"
    assert aliases(client, tracking) == ("1", "3")
    refused = promote(tracking, by_score, my_turn)
    assert not refused.promoted and "it was rolled back on" in refused.reason
    assert aliases(client, tracking) == ("1", "3")


def test_two_promotions_at_once_cannot_both_win(client: MlflowClient, tracking: Tracking, add: Add, my_turn: Turn) -> None:
    """Both judge their candidate against the same champion before either moves it; the later one must judge again."""
    add(0.5)
    promote(tracking, by_score, my_turn)
    first, second = add(0.9), add(0.8)
    met = threading.Barrier(2)
    judged: list[tuple[str, str | None]] = []

    def meeting(version: str) -> Callable[[Contender, Contender | None], Verdict]:
        def judge(_: Contender, champion: Contender | None) -> Verdict:
            mine = client.get_model_version(tracking.model or "", version)
            judged.append((version, champion and champion.version))
            if champion and champion.version == "1":
                met.wait(60)
            return by_score(Contender(tracking.model or "", version, str(mine.run_id), mine.tags), champion)

        return judge

    with ThreadPoolExecutor(2) as pool:
        decisions = list(pool.map(lambda version: promote(tracking, meeting(version), my_turn), (first, second)))
    assert sorted(judged)[:2] == [(first, "1"), (second, "1")]
    assert [decision.promoted for decision in decisions].count(True) == 1
    assert aliases(client, tracking)[1] == "1"


def test_what_was_decided_is_written_before_the_alias_moves(client: MlflowClient, tracking: Tracking, add: Add, my_turn: Turn) -> None:
    """Where the record cannot be written, nobody becomes champion."""
    add(0.5)
    with pytest.raises(ValueError, match="not JSON compliant"):
        promote(tracking, lambda *_: Verdict(True, "yes", {"score": float("nan")}), my_turn)
    assert aliases(client, tracking) == (None, None)


def test_nothing_to_promote(tracking: Tracking, my_turn: Turn) -> None:
    with pytest.raises(ValueError, match="has no candidate at .*: train first"):
        promote(tracking, by_score, my_turn)
    with pytest.raises(ValueError, match="has no champion at .*: there is nothing to roll back"):
        roll_back(tracking, my_turn)
    with pytest.raises(ValueError, match=r"tracking\.model is null"):
        promote(Tracking(uri=tracking.uri, model=None), by_score, my_turn)


def test_no_database_is_made_by_asking(tmp_path: Path, my_turn: Turn) -> None:
    with pytest.raises(ValueError, match="no such MLflow database"):
        promote(Tracking(uri=f"sqlite:///{tmp_path}/none.db", model="x"), by_score, my_turn)
    assert not list(tmp_path.iterdir())
