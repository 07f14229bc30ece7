"""Ray Tune with a sweep's trials by name, none of which trains: `python -m tests.cli.shown_trials NAME...`, on the cluster of RAY_ADDRESS.

It says when all trials have ended, and stays connected until standard input ends, so that they can be looked at.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import PlacementGroupFactory, RunConfig, TuneConfig, Tuner

from chestseg.distributed.cluster import attach
from chestseg.distributed.trial import Assignment
from chestseg.distributed.tune_adapters import Events, Suggestions, Told, assigned
from chestseg.tracking.tracked_run import TrackedRun

ENDED = "all trials have ended"


@dataclass
class Names:
    """A driver that hands out names and is told nothing."""

    labels: list[str]
    trouble: Exception | None = None

    def hand_out(self) -> Assignment | None:
        if not self.labels:
            return None
        run = TrackedRun(Path(), "", "", "", "", sends=False)
        return Assignment(0, self.labels.pop(0), "", run, None)  # type: ignore[arg-type]  (nothing is scored)

    def hear(self, number: int, told: Told) -> bool:
        raise AssertionError(told)

    def tick(self) -> None:
        """Nothing is due."""

    def lose(self, number: int, reason: str) -> None:
        raise AssertionError(reason)


def run_trial(config: dict[str, Any]) -> None:
    tune.report({"value": 1.0})


def main(labels: list[str]) -> None:
    driver = Names(labels)
    with attach(), tempfile.TemporaryDirectory() as folder:
        Tuner(
            tune.with_resources(run_trial, PlacementGroupFactory([{"CPU": 1.0}])),
            tune_config=TuneConfig(
                search_alg=Suggestions(driver),
                num_samples=-1,
                max_concurrent_trials=2,
                reuse_actors=True,
                trial_name_creator=lambda trial: assigned(trial).label,
            ),
            run_config=RunConfig(name="shown", storage_path=folder, callbacks=[Events(driver)], verbose=0),
        ).fit()
        print(ENDED, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
