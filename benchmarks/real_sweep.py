"""A sweep on small real radiographs, and what it found judged on folds that it never saw.

    python -m benchmarks.real_sweep --data ../shared/data [--trials 24] [--seeds 0,1,2]

The sweep of jobs/configs/cxr_tune_small_real.yaml runs as a user would run it, on a dataset of the first three folds of
`cxr_folds.csv` only: it trains on two and compares on the third. Then three schedules of equal compute, the sweep's budget, train on
four of the five folds and are scored on the fifth, once for each of the two folds the sweep had no access to, and for each seed:

    found       the sweep's best.yaml
    two stages  the paper's 256 then 512 pixels scaled down by half, its share of compute (60 and 40 epochs: 27 %), otherwise as configured
    one stage   256 pixels only, otherwise as configured

All are scored at 256 pixels by the configured rule from probabilities to masks. The interval of a difference is over patients, whose
Dice is its mean over the seeds. Each result is a line of the output, so that a stopped run goes on.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
import yaml
from benchmarks.against_script import add_row, live_radiographs, read_rows, train_timed
from benchmarks.real_radiographs import CONFIG, experiment_of

from chestseg.cli import main as chestseg
from chestseg.config import Experiment, Postprocessing, Sweep, experiment_from, load_experiment
from chestseg.config.sweep import load_sweep
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.evaluation.evaluate import evaluate
from chestseg.inference.predictor import Predictor
from chestseg.intervals import intervals, mean_of, paired
from chestseg.tuning.costing import costs_of
from chestseg.tuning.result import BEST, RESULT
from chestseg.tuning.space import experiment_of as tried

SWEEP = "jobs/configs/cxr_tune_small_real.yaml"
SEEN, JUDGED = (0, 1, 2), (3, 4)
PAPER = {"two stages": {"stages": 2, "sizes": [128, 256], "share": 0.27}, "one stage": {"stages": 1, "sizes": 256}}


def prepared_for_search(told: argparse.Namespace) -> list[str]:
    """Prepare the folds that the search may see; the changes to the configuration that name them."""
    seen = told.work / "seen.csv"
    told.work.mkdir(parents=True, exist_ok=True)
    with (told.data / "cxr_folds.csv").open() as file, seen.open("w", newline="") as out:
        rows = csv.DictReader(file)
        writer = csv.DictWriter(out, rows.fieldnames or ())
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["fold"]) in SEEN)
    changes = [*changes_of(told), f"data.folds_file={seen}", f"data.folds={len(SEEN)}", f"data.prepared={told.work / 'seen'}"]
    prepare(changes, told.work / "seen")
    return changes


def changes_of(told: argparse.Namespace) -> list[str]:
    """The configuration's sources at `--data`."""
    sources = experiment_of(told.data, told.work, []).data.sources
    return [f"data.sources.{n}.path={source.path}" for n, source in enumerate(sources)]


def prepare(changes: list[str], folder: Path) -> None:
    """Run `chestseg prepare` where it was not done yet."""
    if not folder.exists() and (code := chestseg(["prepare", CONFIG, *(part for change in changes for part in ("--set", change))])):
        raise SystemExit(code)


def write_sweep(told: argparse.Namespace, changes: list[str]) -> Path:
    """The sweep's YAML over the folds it may see."""
    tree = yaml.safe_load(Path(SWEEP).read_text())
    tracking = f"tracking.uri=sqlite:///{(told.work / 'mlflow.db').absolute()}"
    tree |= {"base": str(Path(CONFIG).absolute()), "storage": str(told.work / "sweeps"), "trials": told.trials}
    tree["set"] = [*tree["set"], *changes, tracking]
    path = told.work / "sweep.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def schedules(told: argparse.Namespace, sweep: Sweep, dataset: PreparedRadiographs) -> dict[str, Experiment]:
    """The three schedules at the sweep's budget, on all folds' data."""
    full = experiment_of(told.data, told.work, ["fold=3", "training.compare_at=256"])
    data = {"data": full.data.model_dump(mode="json")}
    found = load_experiment(Path(sweep.folder, RESULT, BEST), []).model_dump(mode="json")
    sides = {"found": experiment_from(found | data)}
    base = experiment_from(sweep.experiment.model_dump(mode="json") | data)
    for name, space in PAPER.items():
        plain = Sweep.model_validate(sweep.model_dump(mode="json", exclude={"space", "windows"}) | {"space": space, "windows": None})
        sides[name] = tried(plain, base, {}, costs_of(plain, base, dataset), 0)
    return sides


def judge(told: argparse.Namespace, side: str, experiment: Experiment, seed: int, fold: int) -> None:
    """Train a schedule without a fold, and keep its scores on that fold."""
    dataset = PreparedRadiographs.open(experiment.data.prepared)
    tree = experiment.model_dump(mode="json")
    tree |= {"seed": seed, "fold": fold, "training": tree["training"] | {"threads": told.threads}}
    run = experiment_from(tree)
    trained = train_timed(run, dataset, told.threads)
    rule = experiment_of(told.data, told.work, []).postprocessing
    assert isinstance(rule, Postprocessing)
    rows = evaluate(Predictor(live_radiographs(run, trained.averaged, rule)), dataset, dataset.indices("train", fold=fold), size=256).rows
    positives = {row.case_id: row.dice for row in rows if row.positive}
    empty = [not row.present for row in rows if not row.positive]
    row = {
        "side": side,
        "seed": seed,
        "fold": fold,
        "minutes": trained.minutes,
        "stages": [f"{s.epochs} at {s.resolution}" for s in run.stages],
    }
    add_row(told.output, row | {"dice": list(positives.values()), "cases": list(positives), "empty": empty})


def print_table(rows: list[dict]) -> None:
    """Markdown: each side, and what was found less the others."""
    print(
        "| schedule | stages | CPU minutes | Dice on held-out positives: mean (each seed) | negatives left empty | found less this (95 %) |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    by_case: dict[str, dict[str, float]] = {}
    for side in ("found", *PAPER):
        mine = [row for row in rows if row["side"] == side]
        if not mine:
            continue
        cases: dict[str, list[float]] = {}
        for row in mine:
            for case, dice in zip(row["cases"], row["dice"], strict=True):
                cases.setdefault(case, []).append(dice)
        by_case[side] = {case: statistics.fmean(found) for case, found in sorted(cases.items())}
        seeds = [
            statistics.fmean(d for row in mine if row["seed"] == seed for d in row["dice"]) for seed in sorted({r["seed"] for r in mine})
        ]
        shown = f"{statistics.fmean(seeds):.3f} ({', '.join(f'{dice:.3f}' for dice in seeds)})"
        empty = statistics.fmean(float(e) for row in mine for e in row["empty"])
        minutes = statistics.fmean(row["minutes"] for row in mine)
        print(f"| {side} | {', '.join(mine[0]['stages'])} | {minutes:.1f} | {shown} | {empty:.2f} | {difference(by_case, side)} |")


def difference(by_case: dict[str, dict[str, float]], side: str) -> str:
    """Mean Dice of what was found less a side's, with its interval over patients."""
    if side == "found":
        return ""
    cases = list(by_case[side])
    everywhere = np.ones(len(cases), bool)
    found, other = (mean_of([by_case[name][case] for case in cases], everywhere, "positives") for name in ("found", side))
    estimate = intervals({"": paired(found, other)}, cases)[""]
    if estimate.low is None:
        return f"{estimate.value:+.3f} ({estimate.note})"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def main() -> None:
    """Run what is missing of the sweep and of its judgement, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/real-sweep"))
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    told.output = told.work / "results.jsonl"
    path = write_sweep(told, prepared_for_search(told))
    sweep = load_sweep(path)
    if not Path(sweep.folder, RESULT, BEST).exists():
        started = time.monotonic()
        if code := chestseg(["tune", str(path)]):
            raise SystemExit(code)
        print(f"the sweep took {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    full = experiment_of(told.data, told.work, []).data
    prepare([*changes_of(told), f"data.folds_file={full.folds_file}", f"data.prepared={full.prepared}"], Path(full.prepared))
    sides = schedules(told, sweep, PreparedRadiographs.open(full.prepared))
    for seed in map(int, told.seeds.split(",")):
        for fold in JUDGED:
            done = {(r["side"], r["seed"], r["fold"]) for r in read_rows(told.output)}
            for side, experiment in sides.items():
                if (side, seed, fold) not in done:
                    judge(told, side, experiment, seed, fold)
    print_table(read_rows(told.output))


if __name__ == "__main__":
    main()
