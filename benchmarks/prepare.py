"""Prepare: cases/s on two cores against one process, and peak memory for 1,000 against 10,000 files.

    python -m benchmarks.prepare [--folder /tmp/chestseg-benchmark] [--images 512] [--repeats 5]
    python -m benchmarks.prepare --memory 1000,10000 [--edge 256]

Speed: phantoms of 1024 pixels into 256, 512 and 1024. Both sides list, decode and publish. One does it in a plain loop in one
process without Ray, the other is `prepare` on a cluster of two CPUs whose workers are already there (their start takes seconds, once
for any number of files, and is told apart). Asked: at least 1.7x.

Memory: peak resident set of the driver and of its largest worker, sampled ten times a second; each number of files has a process and
a cluster of its own. The images are small (`--edge`), so that what grows with their number shows. Writing 10,000 takes a while.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.sides import in_turn, table

from chestseg.config import RadiographData, Source
from chestseg.data.preparation import plan, publish
from chestseg.data.shards import write_shard
from chestseg.phantoms.radiograph.siim import write_siim

SAMPLE_SECONDS = 0.1
CORES = 2
WARM_UP = 130
"""Small files, in more shards than there are cores."""
SMALL = 256


def phantoms(folder: Path, count: int, edge: int, sizes: tuple[int, ...]) -> RadiographData:
    """Write the phantoms unless they are there, and say how to prepare them."""
    source = folder / f"siim-{count}-{edge}"
    if not source.exists():
        print(f"writing {count} phantoms of {edge} pixels", flush=True)
        write_siim(source, count, seed=0, size=edge)
    return RadiographData(
        sources=(Source(reader="siim", path=str(source)),), prepared=str(folder / f"prepared-{count}-{edge}"), sizes=sizes
    )


def small_files(data: RadiographData) -> RadiographData:
    """Enough small files to start every worker, beside those of `data`."""
    small = phantoms(Path(data.prepared).parent, WARM_UP, SMALL, (SMALL,))
    shutil.rmtree(small.prepared, ignore_errors=True)
    return small


def in_a_loop(data: RadiographData) -> float:
    """Cases/s without Ray, in this process, after it has prepared something else."""
    _prepare_in_a_loop(small_files(data))
    return _prepare_in_a_loop(data)


def _prepare_in_a_loop(data: RadiographData) -> float:
    start = time.perf_counter()
    preparation = plan(data)
    for shard in preparation.pending:
        write_shard(shard, preparation.folder)
    publish(preparation)
    return preparation.cases / (time.perf_counter() - start)


def on_a_cluster(data: RadiographData) -> float:
    """Cases/s of `prepare` with workers that have prepared something else."""
    from chestseg.distributed.cluster import attach
    from chestseg.distributed.prepare import prepare

    with attach(num_cpus=CORES):
        start = time.perf_counter()
        prepare(small_files(data))
        print(f"  with the workers' start, {WARM_UP} small files took {time.perf_counter() - start:.1f} s", file=sys.stderr)
        start = time.perf_counter()
        report = prepare(data)
        seconds = time.perf_counter() - start
    return sum(counts.cases for counts in report.split.values()) / seconds


def memory(data: RadiographData) -> dict[str, float]:
    """Peak resident set in MB of the driver, which is this process, and of the largest of the workers."""
    peaks, finished = {"driver": 0.0, "largest worker": 0.0}, threading.Event()

    def sample() -> None:
        while not finished.wait(SAMPLE_SECONDS):
            driver = psutil.Process()
            for process in (driver, *driver.children(recursive=True)):
                try:
                    role = "driver" if process == driver else "largest worker"
                    if process == driver or process.name().startswith("ray::"):
                        peaks[role] = max(peaks[role], process.memory_info().rss / 1e6)
                except psutil.NoSuchProcess:
                    continue

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        on_a_cluster(data)
    finally:
        finished.set()
        sampler.join()
    return peaks


MEASURES = {"in_a_loop": in_a_loop, "on_a_cluster": on_a_cluster, "memory": memory}


def in_new_process(measure: str, data: RadiographData) -> Any:
    """What one of `MEASURES` says, in a process of its own, of a preparation from the beginning."""
    shutil.rmtree(data.prepared, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.prepare", "--measure", measure, "--data", data.model_dump_json()]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    shutil.rmtree(data.prepared)
    return json.loads(answer.splitlines()[-1])


def main() -> None:
    """Measure speed, or memory for the numbers of files asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark"))
    parser.add_argument("--images", type=int, default=512, help="phantoms of 1024 pixels")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", metavar="N,N", help="numbers of files, in place of speed")
    parser.add_argument("--edge", type=int, default=SMALL, help="edge of the images for --memory")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.measure:
        print(json.dumps(MEASURES[told.measure](RadiographData.model_validate_json(told.data))))
    elif told.memory:
        print(memory_table(told.folder, [int(count) for count in told.memory.split(",")], told.edge))
    else:
        data = phantoms(told.folder, told.images, 1024, (256, 512, 1024))
        sides = {
            "one process": lambda: in_new_process("in_a_loop", data),
            f"Ray Data, {CORES} CPUs": lambda: in_new_process("on_a_cluster", data),
        }
        print(table(in_turn(sides, told.repeats), "cases/s", "one process"))


def memory_table(folder: Path, counts: list[int], edge: int) -> str:
    """Markdown rows of peak memory, one for each number of files."""
    lines = [f"| files of {edge} px | driver, peak MB | largest worker, peak MB |", "| --- | --- | --- |"]
    for count in counts:
        peaks = in_new_process("memory", phantoms(folder, count, edge, (edge,)))
        lines.append(f"| {count} | {peaks['driver']:.0f} | {peaks['largest worker']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
