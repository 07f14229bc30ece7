"""A simulated cluster and a run on it that is left alone, for the tests that disturb others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chestseg.distributed.drill import SETTINGS, finish
from chestseg.distributed.drill_training import DrilledRun, write_config
from chestseg.distributed.simulated import SimulatedCluster, simulated_cluster
from chestseg.distributed.train import STEPS
from chestseg.tracking.journal import Metric, read_entries
from tests.empty_store import empty_store


@dataclass(frozen=True)
class Stage:
    """Where runs are started."""

    config: Path
    cluster: SimulatedCluster

    def run(self, name: str, storage: str | None = None, tracking: str | None = None, **settings: Any) -> DrilledRun:
        """Not started yet; in the test's folder unless said otherwise."""
        folder, env = self.config.parent, self.cluster.driver_env
        return DrilledRun(self.config, name, storage or f"{folder}/runs", tracking or empty_store(folder / f"{name}.db"), env, **settings)

    def left_alone(self, tracking: str | None = None, **settings: Any) -> DrilledRun:
        """Trained to its end."""
        run = self.run("undisturbed", tracking=tracking, **settings)
        run.start()
        finish(run)
        return run


@contextmanager
def stage(
    folder: Path, nodes: Sequence[int], epochs: tuple[int, int], every: int = 5, env: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """Phantoms, an experiment over them, and a cluster."""
    config = write_config(folder, epochs, every)
    with simulated_cluster(nodes, {**SETTINGS, STEPS: str(folder), **(env or {})}) as cluster:
        yield Stage(config, cluster)


def losses(run: DrilledRun) -> dict[tuple[str, int], float]:
    """Of each epoch, by its MLflow run and number."""
    entries = (entry for entry, _ in read_entries(Path(run.experiment.run_folder, "journal.jsonl")))
    runs: dict[str, str] = {}
    points = [entry for entry in entries if isinstance(entry, Metric) and entry.key == "loss"]
    return {(runs.setdefault(point.run, str(len(runs))), point.step): point.value for point in points}
