"""A line of what the doctor says, and how lines of nodes that are alike become one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["finding", "note", "ok"]
STATES: tuple[State, ...] = ("finding", "note", "ok")
"""The worst first."""


@dataclass(frozen=True)
class Check:
    """One line: `finding` is to be mended before a job, `note` is to be known."""

    check: str
    where: tuple[str, ...]
    """Names of nodes; empty for the cluster as a whole."""
    state: State
    told: str
    remedy: str = ""
    """What to do about it; empty where nothing is to be done."""


def grouped(check: str, told: Mapping[str, tuple[State, str]], remedy: str) -> list[Check]:
    """A check's lines: nodes of which the same is told share one, findings come first.

    Args:
        check: its name.
        told: state and words by node.
        remedy: of what is not ok.
    """
    alike: dict[tuple[State, str], list[str]] = {}
    for name, line in told.items():
        alike.setdefault(line, []).append(name)
    worst_first = sorted(alike.items(), key=lambda group: STATES.index(group[0][0]))
    return [Check(check, tuple(names), state, words, "" if state == "ok" else remedy) for (state, words), names in worst_first]
