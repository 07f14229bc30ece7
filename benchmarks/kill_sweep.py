"""The driver of a sweep killed ten times at random moments, and started again each time by the same command.

    python -m benchmarks.kill_sweep [--folder /tmp/chestseg-benchmark] [--kills 10] [--trials 12] [--at-once 1]

One trial at a time, the killed sweep must end with the trials, reports, decisions, states, values, weights and best configuration of
one that was never killed, bit by bit. Several at a time trials meet in another order, so what is asked is that none is lost or doubled
and that every stop follows from the reports before it in the journal. Either way the states in MLflow and Optuna are those of the table.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from benchmarks.phantom_data import phantom_dataset
from benchmarks.tuning_overhead import write_sweep

from chestseg.cli.tune import rungs_of
from chestseg.config.sweep import Sweep, load_sweep
from chestseg.tracking.environment import connect
from chestseg.tuning.records import FILE, Asked, Entry, Finished, Reported, TrialRecord, read_journal, records_of

STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


def sweep_named(folder: Path, name: str, trials: int, at_once: int) -> Path:
    """A sweep under halving, with conditional parameters."""
    path = write_sweep(folder, name, trials, 1.5e11, 1)
    sweep = yaml.safe_load(path.read_text()) | {
        "at_once": at_once,
        "pruner": {"reduction": 2, "rungs": [0.25, 0.5]},
        "validations": 6,
        "space": {"stages": [1, 2], "sizes": [64, 96, 128], "lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        # One worker has one CPU, so that two trials run beside each other.
        "set": ["training.cpus_per_worker=1", "training.threads=1", f"tracking.uri=sqlite:///{folder.absolute()}/{name}.db"],
    }
    path.write_text(yaml.safe_dump(sweep))
    (folder / f"{name}.db").unlink(missing_ok=True)
    return path


def run(path: Path, after: float | None = None) -> bool:
    """Run the command, killed with all it started `after` so many seconds where that is given; whether it came to its end."""
    driver = subprocess.Popen(
        [sys.executable, "jobs/tune.py", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        _, errors = driver.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        return False
    if driver.returncode:
        raise RuntimeError(errors.decode()[-3000:])
    return True


def entries_of(sweep: Sweep) -> list[Entry]:
    """What the sweep's journal holds."""
    path = Path(sweep.folder, FILE)
    return read_journal(path) if path.exists() else []


def course(sweep: Sweep) -> list[tuple[Any, ...]]:
    """All that a kill may not change."""
    found = records_of(entries_of(sweep))
    return [(r.number, r.params, r.state, r.values, r.extra.get("weights"), *map(_decided, r.reports)) for r in found]


def _decided(report: Reported) -> tuple[Any, ...]:
    return report.step, report.compute, report.value, report.goes_on, report.rung


def decisions_follow(sweep: Sweep) -> bool:
    """Whether every decision is that of new rungs which hear the journal's reports in its order."""
    rungs = rungs_of(sweep.pruner, sweep.budget.per_trial)
    assert rungs is not None
    earlier: dict[int, list[Reported]] = {}
    for entry in entries_of(sweep):
        if isinstance(entry, Reported):
            before = earlier.setdefault(entry.number, [])
            if rungs.decide(before, entry.compute, entry.value) != (entry.goes_on, entry.rung):
                return False
            before.append(entry)
            rungs.add(entry)
    return True


def each_once(sweep: Sweep, trials: int) -> bool:
    """Whether every trial was asked for once, finished once, and reported no step twice."""
    entries = entries_of(sweep)
    asked = [entry.number for entry in entries if isinstance(entry, Asked)]
    finished = [entry.number for entry in entries if isinstance(entry, Finished)]
    steps = [(entry.number, entry.step) for entry in entries if isinstance(entry, Reported)]
    return asked == list(range(trials)) == sorted(finished) and len(steps) == len(set(steps))


def stores_agree(sweep: Sweep, records: list[TrialRecord]) -> bool:
    """Whether MLflow's statuses are those of the table, trial by trial."""
    client = connect(sweep.experiment.tracking.uri)
    homes = [home.experiment_id for home in client.search_experiments()]
    runs = [run for run in client.search_runs(homes) if "trial_state" in run.data.tags]
    told = {int(run.data.tags["trial"]): (run.data.tags["trial_state"], run.info.status) for run in runs}
    return len(runs) == len(records) and told == {r.number: (r.state, STATUS[r.state]) for r in records}


def main() -> None:
    """Run the sweep undisturbed, then killed, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    told = parser.parse_args()
    phantom_dataset(told.folder, count=96)
    draw = random.Random(told.seed)
    undisturbed, killed = (sweep_named(told.folder, name, told.trials, told.at_once) for name in ("undisturbed", "killed"))
    start = time.monotonic()
    run(undisturbed)
    whole = time.monotonic() - start
    print(f"undisturbed: {whole:.0f} s", flush=True)
    kills = 0
    while kills < told.kills and not run(killed, after := draw.uniform(0.05, 0.25) * whole):
        kills += 1
        print(f"kill {kills} after {after:.0f} s, {len(entries_of(load_sweep(killed)))} lines in the journal", flush=True)
    run(killed)
    one, other = load_sweep(undisturbed), load_sweep(killed)
    records = records_of(entries_of(other))
    print(f"killed {kills} times; states {[r.state for r in records]}")
    print(f"each trial once: {each_once(other, told.trials)}; decisions follow from the journal: {decisions_follow(other)}")
    print(f"MLflow agrees: {stores_agree(other, records)}")
    if told.at_once == 1:
        best, again = (Path(sweep.folder, "result", "best.yaml").read_text() for sweep in (one, other))
        same = best.replace("undisturbed", "killed") == again
        print(f"same trials, reports, values and weights: {course(one) == course(other)}; same best configuration: {same}")


if __name__ == "__main__":
    main()
