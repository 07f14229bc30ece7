"""The gate to `champion`: rules on a version's recorded scores, the decision written down before an alias moves."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chestseg.config import Tracking
from chestseg.tracking.environment import explained, reach
from chestseg.tracking.registry import CANDIDATE, version_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
PREVIOUS = "previous"
SPLIT = "test"


@dataclass(frozen=True)
class Decision:
    """Whether the candidate became champion, and the one line that says why or why not."""

    promoted: bool
    version: str
    reason: str


def promote(tracking: Tracking) -> Decision:
    """Make the candidate champion if it deserves it; the champion before it keeps the alias `previous`.

    Read are the version's tags `mean_dice`, `all_empty` (the score of predicting nothing on the same cases), `split` and
    `dataset_hash`. A first champion must beat predicting nothing; a later one also the champion, on the same split of the same data.

    Raises:
        ValueError: MLflow can't be reached, no model is named, or there is no candidate.
    """
    if tracking.model is None:
        raise ValueError("tracking.model is null: name the registered model to promote")
    client = reach(tracking.uri)
    with explained(tracking.uri):
        candidate = version_of(client, tracking.model, CANDIDATE)
        if candidate is None:
            raise ValueError(f"{tracking.model} has no candidate at {tracking.uri}: train first, which registers one")
        champion = version_of(client, tracking.model, CHAMPION)
        if champion is not None and champion.version == candidate.version:
            return Decision(False, str(candidate.version), f"version {candidate.version} is the champion already")
        decision = _decide(candidate, champion)
        _carry_out(client, tracking.model, decision, champion)
    return decision


def _carry_out(client: MlflowClient, model: str, decision: Decision, champion: ModelVersion | None) -> None:
    """Write the decision down, then move the aliases: `champion` last, so that at every moment there is one."""
    for key, value in _record(decision).items():
        client.set_model_version_tag(model, decision.version, key, value)
    if decision.promoted:
        if champion is not None:
            client.set_registered_model_alias(model, PREVIOUS, str(champion.version))
        client.set_registered_model_alias(model, CHAMPION, decision.version)


def _decide(candidate: ModelVersion, champion: ModelVersion | None) -> Decision:
    version = str(candidate.version)
    refusal = _worse_than_nothing(candidate.tags) or (champion and _no_better(candidate.tags, champion))
    if refusal:
        return Decision(False, version, f"version {version} stays candidate: {refusal}")
    score, nothing = float(candidate.tags["mean_dice"]), float(candidate.tags["all_empty"])
    if champion is None:
        return Decision(True, version, f"version {version} is the first champion: mean Dice {score:.4f}, nothing predicted {nothing:.4f}")
    before = f"version {champion.version} with {float(champion.tags['mean_dice']):.4f}"
    return Decision(True, version, f"version {version} replaces {before}: mean Dice {score:.4f}")


def _worse_than_nothing(tags: Mapping[str, str]) -> str | None:
    missing = [key for key in ("mean_dice", "all_empty", "split", "dataset_hash") if key not in tags]
    if missing:
        return f"it carries no {missing[0]}; evaluate it on the {SPLIT} split and register it again"
    if tags["split"] != SPLIT:
        return f"it was scored on split {tags['split']}, the gate asks for {SPLIT}"
    if not float(tags["mean_dice"]) > float(tags["all_empty"]):
        return f"mean Dice {float(tags['mean_dice']):.4f} is not above the {float(tags['all_empty']):.4f} of predicting nothing"
    return None


def _no_better(tags: Mapping[str, str], champion: ModelVersion) -> str | None:
    name = f"the champion (version {champion.version})"
    for key in ("dataset_hash", "split"):
        if tags[key] != champion.tags.get(key):
            return f"its {key} is {tags[key]}, that of {name} {champion.tags.get(key)}; evaluate both on the same cases"
    mine, theirs = float(tags["mean_dice"]), float(champion.tags.get("mean_dice", "nan"))
    return None if mine > theirs else f"mean Dice {mine:.4f} is not above the {theirs:.4f} of {name}"


def _record(decision: Decision) -> dict[str, str]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"promotion": "promoted" if decision.promoted else "refused", "promotion_reason": decision.reason, "promotion_time": now}
