"""The training that a drill disturbs: two stages over generated radiographs, by the command a user would give, its steps on record."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chestseg.config import Experiment, load_experiment
from chestseg.data.preparation import plan, publish
from chestseg.data.shards import write_shard
from chestseg.distributed.simulated import end_group
from chestseg.phantoms.radiograph.siim import write_siim

CASES, BATCH = 48, 4
COMMAND = [sys.executable, "-c", "import sys; from chestseg.cli import main; sys.exit(main(sys.argv[1:]))", "train"]
ENDS_WITHIN = 3600.0
LOOKS_EVERY = 0.02
"""Seconds."""
LAST_FAULT = 0.95
"""Of all steps: a fault during the last ones might find the training over."""
RETRIES = 10_000
"""Restarts of workers that Ray is allowed: a drill shall end for other reasons."""


@dataclass(frozen=True)
class Step:
    """A step that was done: its number, counted over all stages, by which process, and when (Unix time)."""

    number: int
    process: int
    time: float


def write_config(folder: Path, epochs: tuple[int, int], checkpoint_every: int, workers: int = 2) -> Path:
    """Prepared phantoms, and an experiment over them whose `storage` and `tracking` each run says for itself."""
    write_siim(folder / "siim", CASES, seed=1, size=64)
    stage = {"batch": BATCH, "micro_batch": BATCH // 2}
    tree = {
        "name": "drill",
        "data": {
            "sources": [{"reader": "siim", "path": str(folder / "siim")}],
            "prepared": str(folder / "prepared"), "sizes": [32, 64], "folds": 3, "test_share": 0,
        },
        "model": {"encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4]},
        "stages": [
            {"size": 32, "epochs": epochs[0], "validate_every": 2, **stage},
            {"size": 64, "epochs": epochs[1], "validate_every": 2, "swa": {"last": 2, "batch_norm_batches": 4}, **stage},
        ],
        "training": {
            "precision": "fp32", "workers": workers, "threads": 1, "gpu": "no",
            "checkpoint_every": checkpoint_every, "max_failures": RETRIES,
        },
        "tracking": {"experiment": "drill", "model": None},
    }  # fmt: skip
    path = folder / "drill.yaml"
    path.write_text("# Made by a drill.\n" + yaml.safe_dump(tree))
    preparation = plan(load_experiment(path).data)
    for shard in preparation.pending:
        write_shard(shard, preparation.folder)
    publish(preparation)
    return path


class DrilledRun:
    """One run of the command, in mid-way stopped and started again as often as a drill wants."""

    def __init__(self, config: Path, name: str, storage: str, tracking: str, env: Mapping[str, str], **settings: Any) -> None:
        """Nothing is started yet.

        Args:
            config: the experiment.
            name: of the experiment, and of this run's log beside `config`.
            storage: folder or URI.
            tracking: MLflow's URI.
            env: of the driver; its cluster's nodes have `STEPS` set to the folder of `config`.
            settings: further keys of the experiment, `__` for a dot.
        """
        keys = {
            "name": name,
            "storage": storage,
            "tracking.uri": tracking,
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
        self.overrides = [f"{key}={value}" for key, value in keys.items()]
        self.experiment: Experiment = load_experiment(config, self.overrides)
        self.command = [*COMMAND, str(config), *(part for override in self.overrides for part in ("--set", override))]
        self.log, self.env = config.with_name(f"{name}.log"), {**env}
        self.record = config.with_name(f"{Path(self.experiment.run_folder).name}.steps")
        self.driver: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Give the command."""
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(self.command, env=self.env, stdout=log, stderr=log, start_new_session=True)

    def kill(self, with_signal: int = signal.SIGKILL) -> None:
        """End the driver and what it started in its session."""
        if self.driver:
            end_group(self.driver, with_signal)

    def steps(self) -> list[Step]:
        """All that were done, in the order in which they were."""
        if not self.record.exists():
            return []
        lines = [line.split() for line in self.record.read_text().splitlines()]
        return [Step(int(number), int(process), float(when)) for number, process, when in lines]

    def wait_for_step(self, number: int) -> None:
        """Until the training has got so far."""
        self._wait(lambda: max((step.number for step in self.steps()), default=0) >= number)

    def wait_for_progress(self, since: float) -> float:
        """Until a process that had done none before `since` has done a step; its time."""
        found: list[float] = []

        def goes_on() -> bool:
            steps = self.steps()
            old = {step.process for step in steps if step.time < since}
            found.extend(step.time for step in steps if step.process not in old)
            return bool(found)

        self._wait(goes_on)
        return found[0]

    def wait(self) -> int:
        """The driver's exit code."""
        assert self.driver
        return self.driver.wait(ENDS_WITHIN)

    def said(self) -> str:
        """The last lines of the driver."""
        return self.log.read_text(errors="replace")[-4000:]

    def _wait(self, happened: Any) -> None:
        deadline = time.monotonic() + ENDS_WITHIN
        while not happened():
            if (self.driver and self.driver.poll() is not None) or time.monotonic() > deadline:
                raise RuntimeError(f"the training ended before it should:\n{self.said()}")
            time.sleep(LOOKS_EVERY)


def moments(draw: random.Random, count: int, steps: int, apart: int = 0) -> list[int]:
    """Steps at which faults happen, drawn anywhere but at the very end, with at least so many between two."""
    last = max(1, int(LAST_FAULT * steps) - apart * (count - 1))
    return [step + apart * place for place, step in enumerate(sorted(draw.randint(1, last) for _ in range(count)))]
