"""What a sweep adds to its trainings: the time of the whole command against the same trainings run bare, one after the other.

    python -m benchmarks.tuning_overhead [--folder /tmp/chestseg-benchmark] [--trials 32] [--flops 6e11] [--workers-trials 4]

Trials are real trainings of a small U-Net on generated radiographs at 128 px, no trial is stopped early, one runs at a time. Bare is
the engine with the same checkpoints, and the scoring of its weights, in one process that has everything imported: what any script that
trains them in turn would take. The sweep is the command from its start to its end: Ray, MLflow, Optuna, plan, report and all. Asked: at
most 1.3. Then fewer trials of two workers, for which Ray Train starts its processes anew each time.

Times are of the clock and of the processors, over all processes of a side; where other jobs share the machine, read the latter.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
import yaml
from benchmarks.phantom_data import phantom_dataset, phantom_experiment

SIZES = [128, 256]


def write_sweep(folder: Path, name: str, trials: int, flops: float, workers: int) -> Path:
    """The sweep's YAML and its base; the sweep's own folder is removed."""
    stage = {"size": 128, "epochs": 1, "batch": 8, "cases_per_epoch": 32, "optimiser": {"final_lr": 1e-6}}
    training = {"workers": workers, "cpus_per_worker": 2 // workers, "threads": 2 // workers}
    model = {"encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [32, 16, 16, 8, 8]}
    if workers > 1:
        stage["micro_batch"] = 4
    base = phantom_experiment(folder, [stage], training=training, model=model, name="overhead")
    (folder / "base.yaml").write_text(yaml.safe_dump(base.model_dump(mode="json")))
    sweep = {
        "name": name, "base": "base.yaml", "trials": trials, "budget": {"unit": "flops", "per_trial": flops}, "sampler": "tpe",
        "space": {"stages": 1, "sizes": 128, "lr": {"low": 1e-4, "high": 1e-2, "log": True}, "augmentation": {"low": 0.5, "high": 1.5}},
        "pruner": None, "validations": 4, "at_once": 1, "storage": str(folder / "sweeps"),
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(sweep))
    shutil.rmtree(folder / "sweeps" / name, ignore_errors=True)
    return path


def bare(path: Path) -> dict[str, Any]:
    """Train and score what the finished sweep at `path` tried, in this process, and say how long each took."""
    import torch

    from chestseg.config.sweep import load_sweep
    from chestseg.data.prepared import PreparedDataset
    from chestseg.distributed.train import settle_threads
    from chestseg.evaluation.conclude import conclude
    from chestseg.training.group import Group
    from chestseg.training.reporter import FolderReporter
    from chestseg.training.run import train
    from chestseg.tuning.compute import Costs
    from chestseg.tuning.records import SweepJournal, records_of
    from chestseg.tuning.space import experiment_of

    sweep = load_sweep(path)
    journal = SweepJournal(Path(sweep.folder))
    costs = Costs.model_validate(journal.measured("costs", dict)["costs"])
    dataset = PreparedDataset.open(sweep.experiment.data.prepared)
    group, storage = Group(device=torch.device("cpu")), path.parent / "bare"
    shutil.rmtree(storage, ignore_errors=True)
    settle_threads(sweep.experiment.training)
    clock, processor = [], []
    for record in records_of(journal.entries):
        experiment = experiment_of(sweep, sweep.experiment, record.params, costs, record.number)
        experiment = experiment.model_copy(update={"storage": str(storage)})
        start, used = time.perf_counter(), time.process_time()
        folder = Path(experiment.run_folder)
        conclude(experiment, train(experiment, dataset, group, FolderReporter(folder / "checkpoints"), folder), group.device)
        clock.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return {"clock": clock, "processor": processor}


def watched(run: Callable[[], subprocess.Popen[str]]) -> tuple[float, float, str]:
    """Seconds of the clock and of the processors that a command and all it starts take, and its output."""
    start, used = time.perf_counter(), dict[int, float]()
    process = run()
    done = threading.Event()

    def watch() -> None:
        top = psutil.Process(process.pid)
        while not done.wait(0.25):
            for each in (top, *top.children(recursive=True)):
                try:
                    used[each.pid] = sum(each.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(output[-3000:])
    return time.perf_counter() - start, sum(used.values()), output


def command(*arguments: str) -> subprocess.Popen[str]:
    """Start this Python with some arguments."""
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def phases(folder: Path) -> list[tuple[float, float]]:
    """For each trial seconds from being handed out to its first report, and from there to its end."""
    from chestseg.tuning.records import SweepJournal, records_of

    records = records_of(SweepJournal(folder).entries)
    return [((r.reports[0].time - r.asked) / 1000, ((r.finished or 0) - r.reports[0].time) / 1000) for r in records if r.reports]


def main() -> None:
    """Measure, or be the bare side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark"))
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--flops", type=float, default=6e11, help="of a trial")
    parser.add_argument("--workers-trials", type=int, default=4, help="trials of two workers")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.bare:
        print(json.dumps(bare(told.bare)))
        return
    phantom_dataset(told.folder, count=96)
    for name, trials, workers in (("overhead", told.trials, 1), ("overhead-workers", told.workers_trials, 2)):
        path = write_sweep(told.folder, name, trials, told.flops, workers)
        clock, processor, _ = watched(lambda path=path: command("jobs/tune.py", str(path)))
        output = command("-m", "benchmarks.tuning_overhead", "--bare", str(path)).communicate()[0]
        alone = json.loads(output.strip().splitlines()[-1])
        print(f"\n{trials} trials of {workers} worker(s)\n\n| | sweep | bare, sum | ratio |\n| --- | --- | --- | --- |")
        for label, whole, parts in (("clock", clock, alone["clock"]), ("processors", processor, alone["processor"])):
            print(f"| s of the {label} | {whole:.1f} | {sum(parts):.1f} | {whole / sum(parts):.2f} |")
        first, rest = zip(*phases(told.folder / "sweeps" / name), strict=True)
        print(f"\nA trial: {mean(first):.1f} s to its first report (the first trial {first[0]:.1f} s, the median of the others", end=" ")
        print(f"{sorted(first[1:])[len(first[1:]) // 2]:.1f} s), {mean(rest):.1f} s from there; bare {mean(alone['clock']):.1f} s in all")
        print(f"before the first trial and after the last: {clock - sum(first) - sum(rest):.1f} s", flush=True)


if __name__ == "__main__":
    main()
