"""Small real radiographs: chestseg's two-stage training against a plain script given the same minutes, fold by fold.

    python -m benchmarks.real_radiographs --data ../shared/data --plain ../shared/baselines --seeds 0,1,2 --output real.jsonl

Five fixed folds of 115 radiographs (`cxr_folds.csv`). For each seed and fold chestseg trains first, with jobs/configs/cxr_small_real.yaml
and the rule that `benchmarks.real_choice` chose for that fold without it. Its minutes, everything from the first weight to the averaged
last one, become the plain script's, once for each of its schedules, in a process of its own. Minutes are of processor time, divided by
the threads: other jobs on the machine then take nothing from either side. Both are scored at 256 pixels on the held-out fold, which
neither has seen and from which nothing was chosen. Sides:

    chestseg            two stages, SWA, flip TTA, the rule to a mask chosen inside the training folds
    no tta, no swa      the same trainings scored otherwise
    rule out of fold    the same answers, the rule to a mask chosen on those of the other four trainings to their held-out folds: all of
                        them cases of this fold's training, but answered by networks that trained on this fold too
    one stage           only the last stage, with as many epochs as fill the same minutes (`--ablations`)
    from scratch        without pretrained weights (`--ablations`); both by the rule of the first side, and by one of their own out of fold
    plain 256, plain 128,256   the script's one-stage and two-stage runs

Each result is a line of the output; what is there is not measured again, so a stopped run goes on. `--table` prints the tables.
"""

import argparse
import json
import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.against_script import add_row, apart, live_radiographs, plain_script, read_rows, train_timed, ways
from benchmarks.real_choice import FOLDS, SCORED_AT, best_rule, choose, masks_of, probabilities_of

from chestseg.cli import main as chestseg
from chestseg.config import Experiment, Postprocessing, RadiographStage, load_experiment
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.metrics import dice

CONFIG = "jobs/configs/cxr_small_real.yaml"
OUT_OF_FOLD = "rule out of fold"
SIDES = (
    "chestseg",
    "no tta",
    "no swa",
    "no swa, no tta",
    OUT_OF_FOLD,
    "one stage",
    "one stage, no swa, no tta",
    "one stage, rule out of fold",
    "from scratch",
    "from scratch, rule out of fold",
    "plain 256",
    "plain 128,256",
)

Row = dict[str, Any]
"""side, seed, fold, minutes, and of the held-out fold: dice of each positive, and for each negative whether it was left empty."""


def experiment_of(data: Path, work: Path, changes: list[str]) -> Experiment:
    """The configured experiment with its paths set to `data` and `work`."""
    names = ("siim", "pneumothorax_png", "covid_cxr_png")
    paths = [f"data.sources.{place}.path={data / name}" for place, name in enumerate(names)]
    paths += [f"data.folds_file={data / 'cxr_folds.csv'}", f"data.prepared={work / 'prepared'}", f"storage={work}"]
    return load_experiment(CONFIG, [*paths, *changes])


def run_chestseg(experiment: Experiment, rule: Postprocessing, threads: int, kept: Path) -> tuple[float, dict[str, Row]]:
    """Train one fold; minutes, and the held-out fold's scores with and without SWA and TTA.

    Args:
        experiment: with its seed and fold.
        rule: from probabilities to a mask.
        threads: of the training.
        kept: archive for the held-out fold's probabilities, an array a way of scoring.
    """
    dataset = PreparedRadiographs.open(experiment.data.prepared)
    trained = train_timed(experiment, dataset, threads)
    indices = dataset.indices("train", fold=int(experiment.fold))
    maps = {
        side: probabilities_of(live_radiographs(experiment, weights, rule.model_copy(update={"flip_tta": tta})), dataset, indices)
        for side, weights, tta in ways(trained)
    }
    np.savez_compressed(kept, allow_pickle=False, **maps)
    return trained.minutes, {side: scored(dataset, indices, masks_of(found, rule)) for side, found in maps.items()}


def scored(dataset: PreparedRadiographs, indices: np.ndarray, masks: list[np.ndarray]) -> Row:
    """Dice of each positive, and of each negative whether it was left empty."""
    truths = [dataset.mask(int(i), SCORED_AT) for i in indices]
    sources = dataset.table["source"].to_pylist()
    empty: dict[str, list[bool]] = {"siim": [], "covid_cxr_png": []}
    for index, mask, truth in zip(indices, masks, truths, strict=True):
        if not truth.any():
            empty[sources[index]].append(not mask.any())
    return {"dice": [dice(m, t) for m, t in zip(masks, truths, strict=True) if t.any()], "empty": empty}


def run_plain(folder: Path, stages: str, minutes: float, seed: int, fold: int, threads: int) -> Row:
    """The plain script's own functions on one fold."""
    plain = plain_script(folder / "plain_cxr.py", threads, seed, fold)
    cases = plain.load_cases()
    dice, empty = plain.train(cases, fold, Namespace(encoder="lite0", stages=stages, minutes=minutes))
    of_siim = [case[0].shape == (1024, 1024) for case in cases if case[2] == fold and not case[1].any()]
    groups = {
        name: [bool(e) for e, siim in zip(empty, of_siim, strict=True) if siim is wanted]
        for name, wanted in (("siim", True), ("covid_cxr_png", False))
    }
    return {"dice": dice, "empty": groups}


def measure(told: Namespace, seed: int, fold: int, done: set[tuple[str, int, int]]) -> None:
    """All sides of one seed and fold that are not in the output yet."""

    def keep(side: str, minutes: float, scores: Row) -> None:
        add_row(told.output, {"side": side, "seed": seed, "fold": fold, "minutes": round(minutes, 3), **scores})

    rule = choose(lambda changes: experiment_of(told.data, told.work, changes), told.work, fold, told.threads)
    changes = [f"seed={seed}", f"fold={fold}", f"training.threads={told.threads}"]
    configured = experiment_of(told.data, told.work, changes)
    ablations = {"one stage": [f"stages=[{json.dumps(one_stage(configured))}]"], "from scratch": ["model.weights=none"]}
    minutes = next((r["minutes"] for r in read_rows(told.output) if (r["side"], r["seed"], r["fold"]) == ("chestseg", seed, fold)), None)
    if minutes is None:
        minutes, scores = run_chestseg(configured, rule, told.threads, archive(told, seed, fold, "chestseg"))
        for name, row in scores.items():
            keep(name, minutes, row)
    for side, change in ablations.items() if told.ablations else ():
        if (side, seed, fold) not in done:
            changed = experiment_of(told.data, told.work, [*changes, *change])
            took, scores = run_chestseg(changed, rule, told.threads, archive(told, seed, fold, side))
            keep(side, took, scores["chestseg"])
            keep(f"{side}, no swa, no tta", took, scores["no swa, no tta"])
    for stages in ("256", "128,256"):
        if (f"plain {stages}", seed, fold) not in done:
            keep(f"plain {stages}", minutes, apart(run_plain, told.plain, stages, minutes, seed, fold, told.threads))


def archive(told: Namespace, seed: int, fold: int, side: str) -> Path:
    """Of a training's answers for the fold that it held out."""
    return told.work / f"held-{seed}-{fold}{'' if side == 'chestseg' else '-' + side.replace(' ', '-')}.npz"


def score_out_of_fold(told: Namespace, seed: int, side: str) -> None:
    """Score a seed of a side whose folds are all trained with rules chosen on the other folds' held-out answers."""
    called = f"{side}, {OUT_OF_FOLD}".removeprefix("chestseg, ")
    rows = {r["fold"]: r for r in read_rows(told.output) if (r["side"], r["seed"]) == (side, seed)}
    if len(rows) < FOLDS or any((r["side"], r["seed"]) == (called, seed) for r in read_rows(told.output)):
        return
    dataset = PreparedRadiographs.open(experiment_of(told.data, told.work, []).data.prepared)
    held = [dataset.indices("train", fold=fold) for fold in range(FOLDS)]
    maps = [list(np.load(archive(told, seed, fold, side))["chestseg"]) for fold in range(FOLDS)]
    truths = [[dataset.mask(int(i), SCORED_AT) for i in indices] for indices in held]
    for fold, row in sorted(rows.items()):
        others = [other for other in range(FOLDS) if other != fold]
        *_, rule = best_rule([m for other in others for m in maps[other]], [t for other in others for t in truths[other]])
        scores = scored(dataset, held[fold], masks_of(maps[fold], rule))
        add_row(told.output, {"side": called, "seed": seed, "fold": fold, "minutes": row["minutes"], **scores})


def one_stage(experiment: Experiment) -> dict[str, Any]:
    """The last stage with as many epochs as all stages cost, which grows with the pixels of an image."""
    stages = [stage for stage in experiment.stages if isinstance(stage, RadiographStage)]
    last = stages[-1]
    epochs = round(sum(stage.epochs * (stage.size / last.size) ** 2 for stage in stages))
    changes = {"epochs": epochs, "validate_every": epochs, "optimiser": stages[0].optimiser}
    return last.model_copy(update=changes).model_dump(mode="json")


def print_tables(rows: list[Row]) -> None:
    """Markdown: each side over its folds, seeds as mean and spread."""
    print(
        "| side | seeds | minutes a fold | Dice on held-out positives: mean over seeds (each seed) | negatives left empty | of them SIIM |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for side in SIDES:
        by_seed: dict[int, list[Row]] = {}
        for row in rows:
            if row["side"] == side:
                by_seed.setdefault(row["seed"], []).append(row)
        whole = {seed: found for seed, found in by_seed.items() if len(found) == FOLDS}
        if not whole:
            continue
        dice = [statistics.fmean(d for row in found for d in row["dice"]) for found in whole.values()]
        every = [e for found in whole.values() for row in found for group in row["empty"].values() for e in group]
        siim = [e for found in whole.values() for row in found for e in row["empty"]["siim"]]
        minutes = statistics.fmean(row["minutes"] for found in whole.values() for row in found)
        seeds = ", ".join(f"{d:.3f}" for d in dice)
        empty = f"{np.mean(every):.3f} | {sum(siim)} of {len(siim)}"
        print(f"| {side} | {len(whole)} | {minutes:.2f} | {statistics.fmean(dice):.3f} ({seeds}) | {empty} |")


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--plain", type=Path, required=True, help="folder of plain_cxr.py")
    parser.add_argument("--work", type=Path, default=Path("runs/real-radiographs"))
    parser.add_argument("--output", type=Path, default=Path("runs/real-radiographs/results.jsonl"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folds", default="0,1,2,3,4")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    told = parser.parse_args()
    if not told.table:
        prepared = experiment_of(told.data, told.work, []).data
        if not Path(prepared.prepared).exists():
            sources = [f"data.sources.{n}.path={s.path}" for n, s in enumerate(prepared.sources)]
            changes = [*sources, f"data.folds_file={prepared.folds_file}", f"data.prepared={prepared.prepared}"]
            if code := chestseg(["prepare", CONFIG, *(part for change in changes for part in ("--set", change))]):
                sys.exit(code)
        for seed in map(int, told.seeds.split(",")):
            for fold in map(int, told.folds.split(",")):
                measure(told, seed, fold, {(r["side"], r["seed"], r["fold"]) for r in read_rows(told.output)})
            for side in ("chestseg", "one stage", "from scratch"):
                score_out_of_fold(told, seed, side)
    print_tables(read_rows(told.output))


if __name__ == "__main__":
    main()
