"""What stopping trials early is worth: Dice against compute of a sweep under ASHA, of TPE without it, and of random search.

    python -m benchmarks.early_stopping [--folder /tmp/chestseg-benchmark] [--seeds 0,1,2] [--trials 16] [--flops 6e11]

All three search the same space for a small U-Net on generated radiographs, with the same compute for a trial that is not stopped. TPE and
random search try `--trials`, each to its end: their compute is what is fixed. ASHA may try as many as that compute pays for. What counts
is the best Dice of trials that came to their end, at each amount of compute spent, stopped trials included. Told for each seed: the best
Dice of each after that compute, and the share of it after which ASHA held what the other had at its end (asked: at most a half).

A sweep is the whole command; what is there is not searched again, so a stopped benchmark goes on. Compute is in FLOPs, so neither other
work on the machine nor the order of the sweeps shows in it.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from benchmarks.phantom_data import phantom_dataset, phantom_experiment

from chestseg.config.sweep import load_sweep
from chestseg.tuning.records import FILE, TrialRecord, read_journal, records_of

MOST = 4
"""Times as many trials as the others may ASHA try; it spends the compute before it has tried them."""
SPACE: dict[str, Any] = {
    "stages": [1, 2],
    "sizes": [64, 96, 128],
    "lr": {"low": 1e-5, "high": 3e-2, "log": True},
    "augmentation": {"low": 0.0, "high": 2.0},
    "positives": {"low": 0.3, "high": 1.0},
    "loss": {"bce": {"low": 0.1, "high": 2.0}},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "asha": {"sampler": "tpe", "pruner": {"reduction": 3, "rungs": [0.11, 0.33]}},
    "tpe": {"sampler": "tpe", "pruner": None},
    "random": {"sampler": "random", "pruner": None},
}


class Point(NamedTuple):
    """The best of a search so far."""

    compute: float
    """Spent by all trials until then, FLOPs."""
    dice: float


def write_sweep(folder: Path, search: str, seed: int, trials: int, flops: float) -> Path:
    """The YAML of one search; its base is shared."""
    stage = {"size": 128, "epochs": 1, "batch": 8, "cases_per_epoch": 32, "optimiser": {"final_lr": 1e-6}}
    model = {"encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [32, 16, 16, 8, 8]}
    training = {"cpus_per_worker": 1, "threads": 1}
    base = phantom_experiment(folder, [stage], training=training, model=model, name="stopped-early")
    (folder / "stopped-early.yaml").write_text(yaml.safe_dump(base.model_dump(mode="json")))
    sweep = {
        "name": f"{search}-{seed}", "seed": seed, "base": "stopped-early.yaml", "space": SPACE,
        "trials": trials * (MOST if search == "asha" else 1), "budget": {"unit": "flops", "per_trial": flops},
        "at_once": 1, "storage": str(folder / "early-stopping"), **SEARCHES[search],
    }  # fmt: skip
    path = folder / f"{search}-{seed}.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


def searched(path: Path) -> list[TrialRecord]:
    """Run the sweep, or what is missing of it; its trials."""
    subprocess.run([sys.executable, "jobs/tune.py", str(path)], check=True, stdout=subprocess.DEVNULL)
    return records_of(read_journal(Path(load_sweep(path).folder, FILE)))


def course(records: list[TrialRecord]) -> list[Point]:
    """The best Dice of whole trials after each trial, against the compute of all until then."""
    points, spent, best = [], 0.0, 0.0
    for record in sorted(records, key=lambda r: r.finished or 0):
        spent += record.reports[-1].compute if record.reports else 0.0
        best = max([best, *record.values]) if record.state == "complete" else best
        points.append(Point(spent, best))
    return points


def dice_at(points: list[Point], compute: float) -> float:
    """The best Dice within so much compute."""
    return max((point.dice for point in points if point.compute <= compute), default=0.0)


def compute_to(points: list[Point], dice: float) -> float | None:
    """Compute until so much Dice; None where it never came."""
    return next((point.compute for point in points if point.dice >= dice), None)


def main() -> None:
    """Search with each for each seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--flops", type=float, default=6e11, help="of a trial that is not stopped")
    told = parser.parse_args()
    phantom_dataset(told.folder, count=96)
    shares: dict[str, list[float]] = {"tpe": [], "random": []}
    print("| seed | ASHA | TPE | random | ASHA's share of the compute to TPE's Dice | to random's |\n| --- | --- | --- | --- | --- | --- |")
    for seed in map(int, told.seeds.split(",")):
        courses = {name: course(searched(write_sweep(told.folder, name, seed, told.trials, told.flops))) for name in SEARCHES}
        whole = min(courses["tpe"][-1].compute, courses["random"][-1].compute)
        cells = [f"{dice_at(points, whole):.4f}" for points in courses.values()]
        for other, found in shares.items():
            to = compute_to(courses["asha"], dice_at(courses[other], whole))
            found.append(to / whole if to is not None else float("inf"))
            cells.append(f"{found[-1]:.2f}")
        print(f"| {seed} | {' | '.join(cells)} |", flush=True)
    for other, found in shares.items():
        print(
            f"{other}: median {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}) of {told.trials} whole trials' compute"
        )


if __name__ == "__main__":
    main()
