"""Requests while replicas are killed, versions change and the registry goes away: what fails, and is each answer one version's?

`python -m benchmarks.serving_faults [--requests 10000] [--kill-every 60] [--ingress]`. Two tiny U-Nets (MobileNetV2, 128 pixels, random
weights) are versions 1 and 2 of a model in a real MLflow server. The endpoint serves them by two replicas, in float32 and one radiograph
at a time, so that answers are those of `chestseg predict` to the bit, which is what they are compared with: record and mask. Meanwhile

  every 60 s one replica of the model is killed by SIGKILL, the older one
  the alias `champion` moves five times, at 10, 25, 35, 70 and 85 % of the requests
  MLflow's server is killed at 40 % and started again at 60 %

A request that is answered 429 is sent again and does not count. `--ingress` kills replicas of what speaks HTTP instead, of which there
are then two; nothing stands in front of them that could send a request again.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import torch
from benchmarks.serving_apps import Apps, kill, pictures, serving
from benchmarks.serving_given import make_bundle

from chestseg.arrays.rle import encode_rle
from chestseg.bundle import load_bundle
from chestseg.cli.predict import run as predict
from chestseg.tracking.environment import connect
from tests.servers import mlflow_server
from tests.serving.registered import REFERENCE, move, register

CLIENTS = 8
FILES = 16
SIZE, EDGE = 128, 512
MOVES = (0.10, 0.25, 0.35, 0.70, 0.85)
AWAY = (0.40, 0.60)
APART = ("case", "source", "model")


@dataclass
class Traffic:
    """Closed loop of `CLIENTS`, and what came back."""

    url: str
    files: Sequence[Path]
    total: int
    expected: dict[str, list[dict[str, Any]]]
    """By version: what `predict` says of each file."""
    codes: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    other: list[str] = field(default_factory=list)
    """Answers that are no version's."""
    seconds: list[float] = field(default_factory=list)
    done: int = 0
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Send them all."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            for one in [pool.submit(self._client) for _ in range(CLIENTS)]:
                one.result()

    def _client(self) -> None:
        with httpx.Client(timeout=120, trust_env=False) as client:
            while (number := self._take()) is not None:
                start = time.perf_counter()
                while self._ask(client, number) == "429":
                    time.sleep(1)
                with self._lock:
                    self.seconds.append(time.perf_counter() - start)
                    self.done += 1

    def _take(self) -> int | None:
        with self._lock:
            self._next += 1
            return self._next - 1 if self._next <= self.total else None

    def _ask(self, client: httpx.Client, number: int) -> str:
        """Status or the kind of failure, counted."""
        file = number % len(self.files)
        try:
            answer = client.post(f"{self.url}/v1/segment", content=self.files[file].read_bytes())
            code = str(answer.status_code)
        except httpx.HTTPError as error:
            answer, code = None, type(error).__name__
        with self._lock:
            self.codes[code] += 1
            if answer is not None and code == "200":
                self._compare(answer.json(), file)
            elif answer is not None and code != "429":
                self.other.append(f"{code}: {answer.text[:200]}")
        return code

    def _compare(self, said: dict[str, Any], file: int) -> None:
        version = said["model"]["version"]
        expected = self.expected[version][file]
        self.versions[version] += 1
        if {key: said[key] for key in expected} != expected:
            self.other.append(f"version {version}, file {file}: not what predict says")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--ingress", action="store_true", help="kill what speaks HTTP, not the model's replicas")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chestseg-faults-") as folder:
        drill(Path(folder), chosen.requests, chosen.kill_every, chosen.ingress)


def drill(work: Path, requests: int, kill_every: float, ingress: bool) -> None:
    """One run, told on standard output."""
    torch.set_num_threads(1)
    files = pictures(work / "files", FILES, EDGE)
    bundles = [make_bundle(work / f"bundle-{seed}", SIZE, "mobilenet_v2", seed) for seed in (1, 2)]
    expected = {str(place): offline(bundle, files, work / f"offline-{place}") for place, bundle in enumerate(bundles, 1)}
    differ = sum(one != other for one, other in zip(*expected.values(), strict=True))
    print(f"{FILES} radiographs of {EDGE} pixels; of {differ} the two versions say different things", flush=True)
    (work / "mlflow").mkdir()
    with mlflow_server(work / "mlflow") as server:
        for place, bundle in enumerate(bundles):
            register(load_bundle(bundle), server.uri, work / f"run{place}")
        registry = connect(server.uri)
        move(registry, "1")
        settings = {"model": REFERENCE, "tracking_uri": server.uri, "cache": str(work / "cache"), "watch_s": 2}
        settings |= {"replicas": {"min": 2, "max": 2}, "batch": {"size": 1, "ahead": 8}, "limits": {"seconds": 110}}
        settings |= {"compute": {"device": "cpu", "precision": "fp32", "cpus": 0.5}}
        settings |= {"front": {"min": 1 + ingress, "max": 1 + ingress}}
        with serving({"cxr": settings}, work) as apps:
            traffic = Traffic(f"{apps.url}/cxr", files, requests, expected)
            ends, kills = threading.Event(), Counter[str]()
            victims = "cxr:Radiographs" if ingress else "cxr:Segmenter"
            faults = [lambda: keep_killing(apps, victims, kill_every, ends, kills)]
            if not ingress:
                steps = {share: (lambda v=str(1 + n % 2): move(registry, v)) for n, share in enumerate(MOVES, 1)}
                steps |= {AWAY[0]: server.kill, AWAY[1]: server.start}
                faults.append(lambda: follow(traffic, steps, ends))
            start = time.monotonic()
            with ThreadPoolExecutor(len(faults)) as pool:
                running = [pool.submit(fault) for fault in faults]
                traffic.run()
                ends.set()
                for fault in running:
                    fault.result()
            tell(traffic, kills, time.monotonic() - start, work)


def offline(bundle: Path, files: Sequence[Path], output: Path) -> list[dict[str, Any]]:
    """What `chestseg predict` writes of each file: its record, and the mask as the endpoint's JSON has it."""
    predict([str(file) for file in files], str(bundle), str(output), device="cpu", precision="fp32")
    said = []
    for file in files:
        record = json.loads((output / "cases" / f"{file.stem}.json").read_text())
        mask = cv2.imread(str(output / "masks" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        said.append({key: value for key, value in record.items() if key not in APART} | {"rle": encode_rle(mask // 255)})
    return said


def keep_killing(apps: Apps, victims: str, every_s: float, ends: threading.Event, kills: Counter[str]) -> None:
    """One after the other; never the last."""
    while not ends.wait(every_s):
        found = apps.replicas(victims)
        if len(found) > 1:
            kill(found[0])
            kills["killed"] += 1
        else:
            kills["spared, as it was the last"] += 1


def follow(traffic: Traffic, steps: dict[float, Callable[[], Any]], ends: threading.Event) -> None:
    """Do each step when its share of requests is done."""
    for share, step in sorted(steps.items()):
        while traffic.done < share * traffic.total and not ends.wait(0.05):
            pass
        step()
        print(f"  {traffic.done} done: {getattr(step, '__name__', 'step').replace('<lambda>', 'alias moved')}", flush=True)


def tell(traffic: Traffic, kills: Counter[str], took: float, work: Path) -> None:
    """Print what was found."""
    log = (work / "server.log").read_text()
    p50, p99, worst = *np.percentile(traffic.seconds, [50, 99]), max(traffic.seconds)
    print(f"{traffic.done} requests by {CLIENTS} clients in {took:.0f} s, {traffic.done / took:.1f}/s")
    print(f"answers: {dict(traffic.codes)}; by version: {dict(sorted(traffic.versions.items()))}")
    print(f"replicas: {dict(kills)}; requests asked again of another replica: {log.count('a replica died under a request')}")
    print(f"seconds: median {p50:.3f}, p99 {p99:.3f}, longest {worst:.1f}, mean {statistics.mean(traffic.seconds):.3f}")
    print(f"answers that are no version's, or failures: {len(traffic.other)}")
    for line in traffic.other[:10]:
        print(f"  {line}")


if __name__ == "__main__":
    main()
