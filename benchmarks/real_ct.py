"""Small real CT sets: chestseg against a plain script given the same minutes, fold by fold.

    python -m benchmarks.real_ct --data ../shared/data --plain ../shared/baselines --dataset Dataset102_MedSegCovid --seeds 0

Three folds: case i, in sorted order, belongs to fold i modulo 3. For each seed and fold chestseg trains first, with the epochs of
jobs/configs/ct_small_real.yaml, and its minutes, everything from the first weight to the averaged last one, become those of the plain
script, in a process of its own. Minutes are of processor time, divided by the threads: other jobs on the machine then take nothing from
either side. Masks are compared on the source's own grid. Settings were chosen on folds inside the training folds. Sides:

    chestseg   as configured: a 2D U-Net over slices, two spacings, SWA, flip TTA
    no tta, no swa   the same trainings scored otherwise
    r3d_18     the 3D U-Net over R3D-18 without its weights, two spacings, about the same minutes (`--r3d`)
    plain      the script: MONAI's BasicUNet on patches of 96 x 96 x 16

Each result is a line of the output; what is there is not measured again, so a stopped run goes on. `--table` prints the tables.
"""

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.against_script import add_row, apart, plain_script, read_rows, train_timed, ways

from chestseg.bundle import build_network
from chestseg.cli import main as chestseg
from chestseg.config import CtExperiment, Experiment, load_experiment
from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.evaluation.volumes import evaluate_volumes
from chestseg.inference.predictor import LiveModel
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.preprocessing import preprocessing_of

CONFIG = "jobs/configs/ct_small_real.yaml"
FOLDS = 3
SIDES = ("chestseg", "no tta", "no swa", "no swa, no tta", "r3d_18", "plain")

R3D: dict[str, Any] = {
    "model": {"architecture": "unet3d", "encoder": "r3d_18", "weights": "none", "decoder_channels": [64, 64, 32, 16, 16]},
    "patch": [16, 96, 96],
}

SETS: dict[str, dict[str, Any]] = {
    "Dataset102_MedSegCovid": {"spacings": [[5.0, 2.8, 2.8], [5.0, 1.4, 1.4]], "window": None, "changes": []},
    "Dataset101_CoronacasesSlices": {
        "spacings": [[1.0, 1.6, 1.6], [1.0, 1.0, 1.0]],
        "window": [0, 255],
        "changes": ["stages.0.patch=[4,80,80]", "stages.1.patch=[4,128,128]", "stages.1.epochs=20", "stages.1.validate_every=20"],
    },
}
"""By data set: the spacings of the stages, what its values are where they are not HU, and what else differs from the config."""

Row = dict[str, Any]
"""side, seed, fold, minutes, and of the held-out fold the Dice of each case."""


def experiment_of(told: argparse.Namespace, changes: list[str]) -> Experiment:
    """The configured experiment on one data set, its folds those of the plain script."""
    units, work = SETS[told.dataset], told.work / told.dataset
    source = {"reader": "nnunet", "path": str(told.data / told.dataset), "window": units["window"]}
    places = [
        f"data.sources=[{json.dumps(source)}]",
        f"data.spacings={json.dumps(units['spacings'])}",
        f"data.folds_file={folds_file(told)}",
        f"data.prepared={work / 'prepared'}",
        f"storage={work}",
    ]
    places += [f"stages.{n}.spacing={json.dumps(spacing)}" for n, spacing in enumerate(units["spacings"])]
    return load_experiment(CONFIG, [*places, *units["changes"], *changes])


def folds_file(told: argparse.Namespace) -> Path:
    """The plain script's folds as a table."""
    path = told.work / told.dataset / "folds.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        images = sorted((told.data / told.dataset / "imagesTr").glob("*.nii.gz"))
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("case_id", "fold"))
            writer.writerows((image.name.removesuffix("_0000.nii.gz"), place % FOLDS) for place, image in enumerate(images))
    return path


def run_chestseg(experiment: Experiment, threads: int) -> tuple[float, dict[str, list[float]]]:
    """Train one fold; minutes, and the held-out cases' Dice with and without SWA and TTA."""
    assert isinstance(experiment, CtExperiment)
    dataset = PreparedVolumes.open(experiment.data.prepared)
    held_out = dataset.indices("train", fold=int(experiment.fold))
    trained = train_timed(experiment, dataset, threads)
    preprocessing = preprocessing_of(experiment.stages[-1], experiment.data)
    scores = {}
    for side, weights, tta in ways(trained):
        rule = experiment.postprocessing.model_copy(update={"flip_tta": tta})
        live = LiveModel(build_network(experiment.model, weights, where="trained"), preprocessing, rule)
        predictor = VolumePredictor(live, precision=experiment.training.precision)
        scores[side] = [row.dice for row in evaluate_volumes(predictor, dataset, held_out).rows]
    return trained.minutes, scores


def run_plain(told: argparse.Namespace, minutes: float, seed: int, fold: int) -> list[float]:
    """The plain script's own functions on one fold."""
    plain = plain_script(told.plain / "plain_ct.py", told.threads, seed, fold)
    scores, _ = plain.run(plain.load(told.dataset, (-1000, 400)), fold, minutes)
    return scores


def measure(told: argparse.Namespace, seed: int, fold: int) -> None:
    """All sides of one seed and fold that are not in the output yet."""
    done = {(r["side"], r["seed"], r["fold"]): r["minutes"] for r in read_rows(told.output) if r["dataset"] == told.dataset}

    def keep(side: str, minutes: float, dice: list[float]) -> None:
        row = {"dataset": told.dataset, "side": side, "seed": seed, "fold": fold, "minutes": round(minutes, 3), "dice": dice}
        add_row(told.output, row)

    changes = [f"seed={seed}", f"fold={fold}", f"training.threads={told.threads}"]
    minutes = done.get(("chestseg", seed, fold))
    if minutes is None:
        minutes, scores = run_chestseg(experiment_of(told, changes), told.threads)
        for name, dice in scores.items():
            keep(name, minutes, dice)
    if ("plain", seed, fold) not in done:
        keep("plain", minutes, apart(run_plain, told, minutes, seed, fold))
    if told.r3d and ("r3d_18", seed, fold) not in done:
        took, scores = run_chestseg(experiment_of(told, [*changes, *told.r3d_changes]), told.threads)
        keep("r3d_18", took, scores["chestseg"])


def r3d_changes(epochs: str) -> list[str]:
    """The configured schedule for the 3D network: its patches, its learning rates, and `epochs` of each stage."""
    stages = [f"stages.{n}.epochs={e}" for n, e in enumerate(epochs.split(","))]
    stages += [f"stages.{n}.validate_every={e}" for n, e in enumerate(epochs.split(","))]
    stages += [f"stages.{n}.{key}={value}" for n in (0, 1) for key, value in (("patch", R3D["patch"]), ("frozen", []))]
    return [f"model={json.dumps(R3D['model'])}", *stages, "training.precision=auto"]


def print_table(rows: list[Row]) -> None:
    """Markdown: each data set and side over its folds, seeds as mean and each."""
    print("| data set | side | seeds | minutes a fold | mean Dice over cases: mean over seeds (each seed) |")
    print("| --- | --- | --- | --- | --- |")
    for dataset in SETS:
        for side in SIDES:
            found: dict[int, list[Row]] = {}
            for row in rows:
                if (row["dataset"], row["side"]) == (dataset, side):
                    found.setdefault(row["seed"], []).append(row)
            whole = {seed: r for seed, r in found.items() if len(r) == FOLDS}
            if whole:
                dice = [statistics.fmean(d for row in r for d in row["dice"]) for r in whole.values()]
                minutes = statistics.fmean(row["minutes"] for r in whole.values() for row in r)
                each = ", ".join(f"{d:.3f}" for d in dice)
                print(f"| {dataset} | {side} | {len(whole)} | {minutes:.2f} | {statistics.fmean(dice):.3f} ({each}) |")


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--plain", type=Path, required=True, help="folder of plain_ct.py")
    parser.add_argument("--dataset", choices=tuple(SETS), default="Dataset102_MedSegCovid")
    parser.add_argument("--work", type=Path, default=Path("runs/real-ct"))
    parser.add_argument("--output", type=Path, default=Path("runs/real-ct/results.jsonl"))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--folds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--r3d", metavar="EPOCHS", help="measure the 3D network too, with so many epochs in its stages, e.g. 4,2")
    parser.add_argument("--table", action="store_true", help="only print the table")
    told = parser.parse_args()
    told.r3d_changes = r3d_changes(told.r3d) if told.r3d else []
    if not told.table:
        told.output.parent.mkdir(parents=True, exist_ok=True)
        data = experiment_of(told, []).data
        if not Path(data.prepared, "prepared.json").exists():
            source = data.sources[0].model_dump_json()
            changes = [f"data.sources=[{source}]", f"data.folds_file={data.folds_file}", f"data.prepared={data.prepared}"]
            spacings = json.dumps(SETS[told.dataset]["spacings"])
            changes += [f"data.spacings={spacings}", *(f"stages.{n}.spacing={json.dumps(s)}" for n, s in enumerate(json.loads(spacings)))]
            if code := chestseg(["prepare", CONFIG, *(part for change in changes for part in ("--set", change))]):
                sys.exit(code)
        for seed in map(int, told.seeds.split(",")):
            for fold in map(int, told.folds.split(",")):
                measure(told, seed, fold)
    print_table(read_rows(told.output))


if __name__ == "__main__":
    main()
