"""Thousands of damaged and hostile files through the running apps: what is answered, and what stays in memory.

`python -m benchmarks.serving_mutants [--radiographs 7000] [--volumes 3000] [--seed 0]`. Files are those of `tests/serving/mutants.py`:
truncated, with flipped bits, extreme numbers and wrong sizes, spliced, of other kinds, bombs, nested and lying zips, names that lead out,
series of which a file is one of these, damaged forms. Each answer must be a valid 200 or a 4xx that says what is wrong, volumes' jobs
must end as done or as failed with a reason; every replica must live to the end, and all of them together must hold what they held at the
start, after sound files, up to a tenth. Memory is what processes share with nobody (USS).
"""

import argparse
import gzip
import io
import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from benchmarks.serving_apps import Apps, memory_mb, pictures, serving
from pydicom import dcmread

from tests.serving import mutants
from tests.serving.ct_app import tiny_ct
from tests.serving.mutants import Mutant
from tests.serving.served import tiny_bundle
from tests.serving.volumes_sent import contents, nifti, series, zipped

CLIENTS = 6
SOUND = 60
EDGE = 128
SYNTAXES = ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90")
"""RLE, JPEG-LS and JPEG 2000, lossless."""
WAIT_S = 300.0


class Tally:
    """What was answered, by kind of file."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, str]] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0
        self._lock = threading.Lock()

    def add(self, app: str, mutant: Mutant, status: int, told: Any, took: float) -> None:
        """Count one, and whether it is as it must be."""
        try:
            mutants.check(mutant, status, told)
        except (AssertionError, KeyError, TypeError) as error:
            with self._lock:
                self.wrong.append(f"{app}: {mutant.what}: {status} {str(error)[:300]}")
                print(self.wrong[-1], flush=True)
        with self._lock:
            self.answers[app, mutant.what, str(status)] += 1
            self.slowest = max(self.slowest, took)
            if (done := sum(self.answers.values())) % 1000 == 0:
                print(f"  {done} answered", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radiographs", type=int, default=7000)
    parser.add_argument("--volumes", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="chestseg-mutants-") as folder:
        work = Path(folder)
        pictured, scans = sound_radiographs(work), sound_volumes(work)
        with serving(settings(work), work) as apps:
            sound = [*[("cxr", Mutant("sound", one)) for one in pictured], *[("ct", Mutant("sound", one)) for one in scans[0]]]
            send(apps, [sound[n % len(sound)] for n in range(SOUND)], Tally())
            replicas = apps.replicas()
            before, tally, start = memory_mb(replicas), Tally(), time.monotonic()
            tell_memory("at the start", replicas)
            half = mixed(pictured, scans, chosen.radiographs, chosen.volumes, chosen.seed)
            send(apps, half, tally)
            took = time.monotonic() - start
            send(apps, [sound[n % len(sound)] for n in range(SOUND)], tally)
            tell_memory("at the end", replicas)
            tell(tally, took, before, memory_mb(replicas), [one for one in replicas if not one.is_running()])


def settings(work: Path) -> dict[str, dict[str, Any]]:
    """Of both apps, small enough that limits are met."""
    replicas = {"compute": {"device": "cpu", "cpus": 0.5}, "cache": str(work / "cache")}
    jobs = {"store": f"sqlite:///{work}/jobs.db", "folder": str(work / "jobs"), "poll_s": 0.1, "at_once_voxels": 2_000_000}
    limits = {"body_mb": 64, "voxels": 40_000_000, "queued": 64, "seconds": 600}
    return {
        "cxr": replicas | {"model": str(tiny_bundle(work / "cxr").folder), "limits": {"body_mb": 16, "seconds": 300}},
        "ct": replicas | {"model": str(tiny_ct(work / "ct").folder), "jobs": jobs, "limits": limits, "memory_gb": 2},
    }


def sound_radiographs(work: Path) -> list[bytes]:
    """DICOM as it is and in three packings, PNG."""
    files = [path.read_bytes() for path in pictures(work / "pictures", 6, EDGE)]
    for syntax in SYNTAXES:
        dataset, packed = dcmread(io.BytesIO(files[0])), io.BytesIO()
        dataset.compress(syntax)
        dataset.save_as(packed)
        files.append(packed.getvalue())
    return files


def sound_volumes(work: Path) -> tuple[list[bytes], list[tuple[str, bytes]]]:
    """NIfTI packed and not, a zip of a series; the series' files."""
    packed, files = nifti(work), contents(series(work / "series"))
    return [packed, gzip.decompress(packed), zipped(files)], files


def mixed(
    pictured: list[bytes], scans: tuple[list[bytes], list[tuple[str, bytes]]], radiographs: int, volumes: int, seed: int
) -> Iterator[tuple[str, Mutant]]:
    """Mutants of both in turn, made when they are asked for."""
    ways = {"cxr": mutants.radiographs(pictured, radiographs, seed), "ct": mutants.volumes(*scans, volumes, seed)}
    order = sorted([(n / max(1, radiographs), "cxr") for n in range(radiographs)] + [(n / max(1, volumes), "ct") for n in range(volumes)])
    for _, app in order:
        yield app, next(ways[app])


def send(apps: Apps, files: Any, tally: Tally) -> None:
    """By several clients."""
    waiting, lock = iter(files), threading.Lock()

    def client() -> None:
        with httpx.Client(base_url=apps.url, timeout=WAIT_S, trust_env=False) as http:
            while True:
                with lock:
                    app, mutant = next(waiting, ("", Mutant("", b"")))
                if not app:
                    return
                start = time.perf_counter()
                status, told = ask(http, app, mutant)
                tally.add(app, mutant, status, told, time.perf_counter() - start)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for one in [pool.submit(client) for _ in range(CLIENTS)]:
            one.result()


def ask(http: httpx.Client, app: str, mutant: Mutant) -> tuple[int, Any]:
    """Status and JSON; a job's are those of its end."""
    headers, path = {"Content-Type": mutant.kind, "Prefer": "wait=100"}, f"/{app}/v1/{'segment' if app == 'cxr' else 'jobs'}"
    while (answer := http.post(path, content=mutant.body, headers=headers)).status_code == 429:
        time.sleep(0.5)
    if answer.headers["content-type"] != "application/json":
        return 599, answer.text
    status, told = answer.status_code, answer.json()
    deadline = time.monotonic() + WAIT_S
    while status == 202 and time.monotonic() < deadline:
        time.sleep(0.2)
        told = http.get(told["links"]["self"]).json()
        status = {"done": 200, "failed": 422}.get(told["state"], 202)
    if status == 422 and "state" in told:
        told = {"error": {"code": "failed", "message": told["error"], "request_id": told["id"]}}
    return status, told


def tell_memory(when: str, replicas: list[psutil.Process]) -> None:
    """A line of each replica's."""
    each = ", ".join(f"{' '.join(one.cmdline())[19:38].split('.')[0]} {memory_mb([one]):.0f}" for one in replicas if one.is_running())
    print(f"MB {when}: {each}", flush=True)


def tell(tally: Tally, took: float, before: float, after: float, dead: list[psutil.Process]) -> None:
    """Print what was found."""
    total = sum(tally.answers.values()) - SOUND
    print(f"{total} mutants in {took:.0f} s, the slowest answer after {tally.slowest:.1f} s\n")
    codes = sorted({code for _, _, code in tally.answers})
    print("| app | file | " + " | ".join(codes) + " |\n| --- | --- |" + " --- |" * len(codes))
    for app, what in sorted({(app, what) for app, what, _ in tally.answers}):
        print(f"| {app} | {what} | " + " | ".join(str(tally.answers[app, what, code]) for code in codes) + " |")
    print(f"\nreplicas that died: {len(dead)}; memory of all: {before:.0f} MB before, {after:.0f} MB after, {after / before - 1:+.1%}")
    print(f"answers that are not as they must be: {len(tally.wrong)}")
    for line in tally.wrong[:20]:
        print(f"  {line}")


if __name__ == "__main__":
    main()
