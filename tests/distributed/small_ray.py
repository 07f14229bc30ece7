"""What code asks of an attached cluster to place one task, answered without one: the task is run at once, here."""

from collections.abc import Callable
from typing import Any, Self

import pytest


class SmallRay:
    """Nodes and resources as given; keeps what each task asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nodes: int, gpus: float = 0.0) -> None:
        self.asked: list[dict[str, float]] = []
        self._nodes, self._gpus = nodes, gpus
        for module in ("measure", "room"):
            monkeypatch.setattr(f"chestseg.distributed.{module}.ray", self)

    def nodes(self) -> list[dict[str, Any]]:
        """All of them with four CPUs each, the first with the GPUs, and one that has gone."""
        resources = [{"CPU": 4.0, "GPU": self._gpus if place == 0 else 0.0} for place in range(self._nodes + 1)]
        return [{"Alive": place < self._nodes, "Resources": has} for place, has in enumerate(resources)]

    def remote(self, work: Callable[..., Any]) -> "Task":
        """A task of it."""
        return Task(work, self.asked)

    def get(self, answer: Any) -> Any:
        """Known already."""
        return answer


class Task:
    """A function with resources to come."""

    def __init__(self, work: Callable[..., Any], asked: list[dict[str, float]]) -> None:
        self._work, self._asked = work, asked

    def options(self, **resources: float) -> Self:
        """Its resources."""
        self._asked.append(resources)
        return self

    def remote(self, *args: Any) -> Any:
        """Its answer."""
        return self._work(*args)
