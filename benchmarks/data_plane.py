"""Prepare and batch prediction on 1, 2 and 4 simulated nodes, every file with a fixed delay, as storage far away has: how near to linear.

    python -m benchmarks.data_plane [--folder /tmp/chestseg-benchmark] [--files 1024] [--delay 0.25] [--nodes 1,2,4] [--repeats 3]
        [--only predict]

A node is a raylet of one CPU on this machine, on loopback; the driver has a head without CPUs. The delay is slept by the process that
reads a file, before it does, so that nodes wait side by side, though there are two cores for all of them. Files are generated
radiographs, small so that the cores have little to do beside. Asked: at least 0.85 of linear.

    prepare   cases/s of the whole command on workers that have prepared something else, whose start is the same for any number of files
    predict   cases/s of `batch-predict` between its first and its last tenth of results, of processes that are all there; and of all of
              it, their start (some ten seconds of a core each, and only two cores) and the loading of the network included
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.prepare import phantoms
from benchmarks.sides import in_turn, table
from benchmarks.slow_files import DELAY, SLOW

from chestseg.bundle import load_bundle
from chestseg.distributed.simulated import simulated_cluster
from tests.serving.served import tiny_bundle

EDGE, WARM_UP = 128, 64 * 8
"""Pixels; files in twice as many shards as there are nodes."""
ROOT = Path(__file__).parent.parent
Rates = dict[str, float]
"""Cases/s by what they are of."""


def prepare_on(folder: Path, files: int, delay: float) -> Rates:
    """Prepare on the joined cluster."""
    from chestseg.distributed.prepare import prepare

    warming, measured = (phantoms(folder, count, EDGE, (64,)) for count in (WARM_UP, files))
    join(measured.sources[0].path, delay)
    for data in (warming, measured):
        shutil.rmtree(data.prepared, ignore_errors=True)
        start = time.perf_counter()
        report = prepare(data)
    return {"prepare": sum(counts.cases for counts in report.split.values()) / (time.perf_counter() - start)}


def predict_on(folder: Path, files: int, delay: float) -> Rates:
    """Segment on the joined cluster, by a network of a few weights."""
    from chestseg.distributed.batch_predict import batch_predict
    from chestseg.inference.batch_worker import BatchSettings

    source = phantoms(folder, files, EDGE, (64,)).sources[0].path
    output = folder / "predicted"
    shutil.rmtree(output, ignore_errors=True)
    join(source, delay)
    start = time.perf_counter()
    rows = batch_predict([source], load_bundle(str(folder / "tiny")), BatchSettings(str(output), ("json",), "cpu"))
    seconds = time.perf_counter() - start
    done = sorted(path.stat().st_mtime for path in (output / "cases").iterdir())
    count = len(rows)  # those of the challenge's test set are beside the `files`
    assert len(done) == count >= files, f"{len(done)} of {count} segmented"
    first, last = count // 10, count - 1 - count // 10
    return {"predict": (last - first) / (done[last] - done[first]), "predict, its start included": count / seconds}


def join(slow: str, delay: float) -> None:
    """Join the cluster that RAY_ADDRESS names with processes that wait at every file of a folder."""
    import ray

    environment = {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", DELAY: str(delay), SLOW: slow}
    hook = "benchmarks.slow_files.wait_at_every_file"
    ray.init(runtime_env={"env_vars": environment, "worker_process_setup_hook": hook}, logging_level="ERROR")


MEASURES: dict[str, Callable[[Path, int, float], Rates]] = {"prepare": prepare_on, "predict": predict_on}


def on_nodes(measure: str, nodes: int, told: argparse.Namespace) -> Rates:
    """One of `MEASURES` by a driver of its own on a new cluster."""
    with simulated_cluster([1] * nodes, {}) as cluster:
        command = [sys.executable, "-m", "benchmarks.data_plane", "--measure", measure, "--folder", str(told.folder)]
        command += ["--files", str(told.files), "--delay", str(told.delay)]
        answer = subprocess.run(command, env=cluster.driver_env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    """Measure, or be one driver of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark"))
    parser.add_argument("--files", type=int, default=1024)
    parser.add_argument("--delay", type=float, default=0.25, help="seconds a file")
    parser.add_argument("--nodes", default="1,2,4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=MEASURES, help="one of the two, not both")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.measure:
        print(json.dumps(MEASURES[told.measure](told.folder, told.files, told.delay)))
        return
    for count in (WARM_UP, told.files):
        phantoms(told.folder, count, EDGE, (64,))
    shutil.rmtree(told.folder / "tiny", ignore_errors=True)
    tiny_bundle(told.folder / "tiny")
    for measure in [told.only] if told.only else MEASURES:
        print_shares(measure, [int(count) for count in told.nodes.split(",")], told)


def print_shares(measure: str, counts: list[int], told: argparse.Namespace) -> None:
    """Measure each number of nodes in turn; print cases/s, and their share of linear."""
    rates: dict[tuple[str, int], list[float]] = {}

    def keep(nodes: int) -> float:
        found = on_nodes(measure, nodes, told)
        for name, rate in found.items():
            rates.setdefault((name, nodes), []).append(rate)
        return next(iter(found.values()))

    in_turn({f"{measure}, {nodes} nodes": partial(keep, nodes) for nodes in counts}, told.repeats)
    for name in dict.fromkeys(name for name, _ in rates):
        print("\n" + table({f"{name}, {nodes} nodes": rates[name, nodes] for nodes in counts}, "cases/s", f"{name}, {counts[0]} nodes"))
        for nodes in counts[1:]:
            shares = [rate / one * counts[0] / nodes for rate, one in zip(rates[name, nodes], rates[name, counts[0]], strict=True)]
            print(f"{name}: {np.median(shares):.2f} of linear on {nodes} nodes ({min(shares):.2f} to {max(shares):.2f})", flush=True)


if __name__ == "__main__":
    main()
