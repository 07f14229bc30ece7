"""Only the gate moves the champion, and it says why."""

from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from chestseg.cli import promote as command
from chestseg.config import Experiment, Tracking
from chestseg.tracking.environment import connect
from chestseg.tracking.promotion import CHAMPION, PREVIOUS, promote
from chestseg.tracking.registry import CANDIDATE, version_of

GOOD = {"mean_dice": "0.82", "all_empty": "0.79", "split": "test", "dataset_hash": "aaaa"}


def add_candidate(client: MlflowClient, tracking: Tracking, **tags: str) -> str:
    """A version with the tags of a good one but for `tags`; an empty text leaves one out."""
    model = tracking.model or ""
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    run = client.create_run("0")
    kept = {key: value for key, value in {**GOOD, **tags}.items() if value}
    version = str(client.create_model_version(model, f"{run.info.artifact_uri}/model", run.info.run_id, tags=kept).version)
    client.set_registered_model_alias(model, CANDIDATE, version)
    return version


def champion(client: MlflowClient, tracking: Tracking, alias: str = CHAMPION) -> str | None:
    found = version_of(client, tracking.model or "", alias)
    return found and str(found.version)


def test_first_champion_then_a_better_one(client: MlflowClient, experiment: Experiment) -> None:
    tracking = experiment.tracking
    first = add_candidate(client, tracking)
    decision = promote(tracking)
    assert decision.promoted
    assert decision.reason == "version 1 is the first champion: mean Dice 0.8200, nothing predicted 0.7900"
    assert (champion(client, tracking), champion(client, tracking, PREVIOUS)) == (first, None)
    assert promote(tracking).reason == "version 1 is the champion already"
    assert client.get_model_version(tracking.model or "", first).tags["promotion"] == "promoted"

    second = add_candidate(client, tracking, mean_dice="0.83")
    assert promote(tracking).reason == "version 2 replaces version 1 with 0.8200: mean Dice 0.8300"
    assert (champion(client, tracking), champion(client, tracking, PREVIOUS)) == (second, first)
    tags = client.get_model_version(tracking.model or "", second).tags
    assert (tags["promotion"], tags["promotion_reason"]) == ("promoted", "version 2 replaces version 1 with 0.8200: mean Dice 0.8300")


@pytest.fixture(scope="module")
def held(mlflow_server: str) -> Tracking:
    """A model with a champion, version 1."""
    tracking = Tracking(uri=mlflow_server, model="held")
    add_candidate(connect(mlflow_server), tracking)
    assert promote(tracking).promoted
    return tracking


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"mean_dice": "0.78"}, "mean Dice 0.7800 is not above the 0.7900 of predicting nothing"),
        ({"mean_dice": "nan"}, "mean Dice nan is not above the 0.7900 of predicting nothing"),
        ({"mean_dice": ""}, "it carries no mean_dice; evaluate it on the test split and register it again"),
        ({"split": "validation"}, "it was scored on split validation, the gate asks for test"),
        ({"dataset_hash": "bbbb"}, "its dataset_hash is bbbb, that of the champion (version 1) aaaa; evaluate both on the same cases"),
        ({}, "mean Dice 0.8200 is not above the 0.8200 of the champion (version 1)"),
    ],
)
def test_refused(client: MlflowClient, held: Tracking, tags: dict[str, str], reason: str) -> None:
    version = add_candidate(client, held, **tags)
    decision = promote(held)
    assert (decision.promoted, decision.reason) == (False, f"version {version} stays candidate: {reason}")
    assert champion(client, held) == "1"
    assert client.get_model_version("held", version).tags["promotion"] == "refused"


def test_nothing_to_promote(experiment: Experiment) -> None:
    with pytest.raises(ValueError, match="has no candidate at .*: train first"):
        promote(experiment.tracking)
    with pytest.raises(ValueError, match=r"tracking\.model is null"):
        promote(Tracking(uri=experiment.tracking.uri, model=None))


def test_the_command(tmp_path: Path, client: MlflowClient, experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    add_candidate(client, experiment.tracking)
    assert command.run(str(config), []) == 0
    assert command.run(str(config), []) == 1
    assert capsys.readouterr().out == (
        "test-the-command: version 1 is the first champion: mean Dice 0.8200, nothing predicted 0.7900\n"
        "test-the-command: version 1 is the champion already\n"
    )
