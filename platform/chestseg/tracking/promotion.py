"""The gate to `champion`: who stands against whom, turns, the decision written down before an alias moves, and the way back.

Whether a candidate is better is judged elsewhere (`evaluation.gate`); that takes a while, so it goes on outside the turn, and counts only
if the champion it was judged against is still champion inside.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chestseg.config import Tracking
from chestseg.tracking.environment import checked_uri, explained, reach, require_database
from chestseg.tracking.registry import BUNDLE_TAG, CANDIDATE, version_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
PREVIOUS = "previous"
SPLIT = "test"
ROLLED_BACK = "rolled_back"
"""Tag of a version that was champion and was not kept; the gate does not take it again."""
ATTEMPTS = 3
FOLDER = "promotion"
"""Of decisions, among the artifacts of the candidate's run."""


@dataclass(frozen=True)
class Contender:
    """A version of the model."""

    model: str
    version: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """For `inference.locate.open_bundle`."""
        return f"models:/{self.model}/{self.version}"

    @property
    def facts(self) -> dict[str, str | None]:
        """For a decision's record."""
        return {"version": self.version, "run_id": self.run_id, "bundle_sha256": self.tags.get(BUNDLE_TAG)}


@dataclass(frozen=True)
class Verdict:
    """What judging a candidate came to."""

    promoted: bool
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)
    """Of JSON's types."""


@dataclass(frozen=True)
class Decision:
    """Whether the champion changed, to which version, and the one line that says why or why not."""

    promoted: bool
    version: str
    reason: str


Judge = Callable[[Contender, Contender | None], Verdict]
"""Of a candidate and the champion, where there is one."""
Turn = Callable[[], AbstractContextManager[None]]


def promote(tracking: Tracking, judge: Judge, turn: Turn, facts: Mapping[str, Any] | None = None) -> Decision:
    """Make the candidate champion if `judge` says so; the champion before it keeps the alias `previous`.

    Args:
        tracking: where the model is registered, and its name.
        judge: compares them; may take long, and is asked again where the champion changed meanwhile.
        turn: holds other promotions of the model off.
        facts: more for the record, such as the lock's scope.

    Raises:
        ValueError: MLflow can't be reached, no model is named, there is no candidate, or the champion does not stop changing.
    """
    client, model = _registry(tracking)
    with explained(tracking.uri):
        for _ in range(ATTEMPTS):
            candidate, champion = contender(client, model, CANDIDATE), contender(client, model, CHAMPION)
            if candidate is None:
                raise ValueError(f"{model} has no candidate at {tracking.uri}: train first, which registers one")
            if champion and champion.version == candidate.version:
                return Decision(False, candidate.version, f"version {candidate.version} is the champion already")
            verdict = _rolled_back(candidate) or judge(candidate, champion)
            with turn():
                if version_under(client, model, CHAMPION) == (champion and champion.version):
                    return _carry_out(client, candidate, champion, verdict, facts or {})
    raise ValueError(f"{model}: the champion changed {ATTEMPTS} times while it was compared with: promote again when others have ended")


def roll_back(tracking: Tracking, turn: Turn, facts: Mapping[str, Any] | None = None) -> Decision:
    """Make the champion before this one champion again; this one becomes `previous` and is not promoted again.

    Raises:
        ValueError: MLflow can't be reached, no model is named, or there is no champion or none before it.
    """
    client, model = _registry(tracking)
    with explained(tracking.uri), turn():
        champion, previous = contender(client, model, CHAMPION), contender(client, model, PREVIOUS)
        if champion is None:
            raise ValueError(f"{model} has no champion at {tracking.uri}: there is nothing to roll back")
        if previous is None or previous.version == champion.version:
            raise ValueError(f"{model} has no champion before version {champion.version}: promote another candidate instead")
        reason = f"version {previous.version} is champion again in place of version {champion.version}"
        verdict = Verdict(True, reason, {"rolled_back": champion.facts})
        client.set_model_version_tag(model, champion.version, ROLLED_BACK, _now())
        return _carry_out(client, previous, champion, verdict, facts or {})


def contender(client: MlflowClient, model: str, alias: str) -> Contender | None:
    """The version behind an alias; None where there is none."""
    found = version_of(client, model, alias)
    return found and Contender(model, str(found.version), str(found.run_id), dict(found.tags))


def version_under(client: MlflowClient, model: str, alias: str) -> str | None:
    """Its number; None where there is none."""
    found = version_of(client, model, alias)
    return found and str(found.version)


def _carry_out(client: MlflowClient, chosen: Contender, champion: Contender | None, verdict: Verdict, facts: Mapping[str, Any]) -> Decision:
    """Write the decision down, then move the aliases: `champion` last, so that at every moment there is one."""
    decision = "promoted" if verdict.promoted else "refused"
    against = champion and champion.facts
    record = {"decision": decision, "reason": verdict.reason, "time": _now(), "candidate": chosen.facts, "champion": against}
    name = f"{FOLDER}/version-{chosen.version}-against-{champion.version if champion else 'none'}.json"
    client.log_text(chosen.run_id, json.dumps(record | dict(facts) | verdict.evidence, indent=2, allow_nan=False) + "\n", name)
    tags = {"promotion": decision, "promotion_reason": verdict.reason, "promotion_time": record["time"], "promotion_evidence": name}
    for key, value in tags.items():
        client.set_model_version_tag(chosen.model, chosen.version, key, value)
    if verdict.promoted:
        if champion is not None:
            client.set_registered_model_alias(chosen.model, PREVIOUS, champion.version)
        client.set_registered_model_alias(chosen.model, CHAMPION, chosen.version)
    return Decision(verdict.promoted, chosen.version, verdict.reason)


def _rolled_back(candidate: Contender) -> Verdict | None:
    if ROLLED_BACK not in candidate.tags:
        return None
    when = candidate.tags[ROLLED_BACK]
    return Verdict(False, f"version {candidate.version} stays candidate: it was rolled back on {when}; register another")


def _registry(tracking: Tracking) -> tuple[MlflowClient, str]:
    if tracking.model is None:
        raise ValueError("tracking.model is null: name the registered model to promote")
    require_database(checked_uri(tracking.uri))
    return reach(tracking.uri), tracking.model


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
