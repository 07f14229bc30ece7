"""Radiographs over HTTP, side by side in one run: this package on Ray Serve, FastAPI, and MLflow's server.

`python -m benchmarks.serving [--size 256 --size 512] [--seconds 30] [--rounds 3]`. Every side serves the same bundle (a U-Net over
ResNet-34, flip averaging on) to the same generated radiographs (DICOM, 1024x1024, JPEG), with the same number of PyTorch threads. Sides
are started one at a time, in turn, so that no two share the machine. The load generator (Locust, in an environment of its own, since it
brings gevent) is pinned to the last core, which the servers may use as well; what it takes of it is in the table.

The sides:
  serve            `serve run serve_apps.cxr:app`: precision auto, batches of up to 8
  serve fp32       the same in float32: what precision is worth
  serve no batches the same, one radiograph at a time: what batching is worth
  serve, a replica a thread   as many replicas as threads, each with one
  predictor pool, predictor loop   FastAPI and uvicorn around our predictor, a `def` and an `async def` route: Serve's price
  plain pool, plain loop           FastAPI and uvicorn as a user writes it: eager float32, one call a request
  mlflow           `mlflow models serve` of the same bundle
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from benchmarks.serving_given import make_bundle, radiographs

from chestseg.arrays.rle import encode_rle
from chestseg.bundle import load_bundle
from chestseg.dicom.radiograph import read_radiograph
from chestseg.inference.predictor import Predictor

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
LOCUST = "locust==2.47.0"
STARTS_WITHIN = 900.0
TAIL = 99


class Side(NamedTuple):
    """A server and how to call it."""

    command: list[str]
    port: int
    health: str
    path: str
    env: dict[str, str]
    mlflow: bool = False


class Load(NamedTuple):
    """One measurement, in seconds and requests a second."""

    clients: int
    rate: float
    per_second: float
    p50: float
    p99: float
    failed: int
    generator_cpu: float
    timings_ms: dict[str, float]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, action="append", help="edge the network sees; 256 and 512 when left out")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch, on every side")
    parser.add_argument("--side", action="append", help="only these")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "chestseg-serving"), help="kept for later runs")
    parser.add_argument("--output", type=Path, help="all measurements as JSON lines")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    files = radiographs(chosen.work)
    for size in chosen.size or (256, 512):
        bundle = make_bundle(chosen.work / f"bundle-{size}", size)
        print(f"\n## {size} pixels, {chosen.threads} threads, {os.cpu_count()} cores, rounds of {chosen.seconds:g} s\n", flush=True)
        own = predictors_own_time(bundle, files, chosen.threads)
        print("One call after the other in one process, no HTTP: " + ", ".join(f"{k} {v:.1f} ms" for k, v in own.items()), flush=True)
        sides = sides_of(bundle, chosen.threads, chosen.work)
        measured: dict[str, list[list[Load]]] = {name: [] for name in chosen.side or sides}
        for _ in range(chosen.rounds):
            for name in measured:
                measured[name].append(measure(sides[name], files, chosen.seconds, chosen.work))
                print(f"  {name}: " + "; ".join(f"{load.per_second:.2f}/s p99 {load.p99:.3f} s" for load in measured[name][-1]), flush=True)
        print("\n" + "\n".join(table(measured)), flush=True)
        if chosen.output:
            record(chosen.output, size, chosen.threads, own, measured)


def sides_of(bundle: Path, threads: int, work: Path) -> dict[str, Side]:
    """All sides for one bundle."""
    env = {"SERVING_BUNDLE": str(bundle), "SERVING_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    serve: dict[str, dict[str, float | str]] = {
        "serve": {},
        "serve fp32": {"compute.precision": "fp32"},
        "serve no batches": {"batch.size": 1, "batch.ahead": 16},
        "serve, a replica a thread": {"replicas.min": threads, "replicas.max": threads, "compute.threads": 1},
    }
    sides: dict[str, Side] = {name: serve_side(name, bundle, more, threads, work) for name, more in serve.items()}
    for name in ("ours", "plain"):
        for route in ("pool", "loop"):
            command = [str(BIN / "uvicorn"), "--factory", f"benchmarks.serving_sides:{name}", "--port", "8101", "--log-level", "warning"]
            sides[f"{'predictor' if name == 'ours' else name} {route}"] = Side(command, 8101, "/health", f"/{route}", env)
    model = pyfunc(bundle, work)
    command = [str(BIN / "mlflow"), "models", "serve", "-m", str(model), "--env-manager", "local", "--port", "8102"]
    sides["mlflow"] = Side(command, 8102, "/ping", "/invocations", env | {"MLFLOW_DISABLE_TELEMETRY": "true"}, mlflow=True)
    return sides


def serve_side(name: str, bundle: Path, more: Mapping[str, float | str], threads: int, work: Path) -> Side:
    """`serve run` of a file like serve_apps/serve.yaml, on a private cluster of loopback."""
    limits = {"limits.queued": 1000, "limits.seconds": 120}
    arguments = {"model": str(bundle), "compute.threads": threads, "tokens": None, **limits, **more}
    app = {"name": "cxr", "route_prefix": "/", "import_path": "serve_apps.cxr:app", "args": arguments}
    path = work / f"{name.replace(', ', '-').replace(' ', '-')}.yaml"
    path.write_text(yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": 8100}, "applications": [app]}))
    env = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"}
    return Side([str(BIN / "serve"), "run", str(path)], 8100, "/readyz", "/v1/segment", env)


def pyfunc(bundle: Path, work: Path) -> Path:
    """The bundle as `tracking.registration` registers it."""
    from chestseg.tracking.registration import _save_pyfunc

    path = work / f"mlflow-{bundle.name}"
    if not path.exists():
        _save_pyfunc(bundle, path)
    return path


@contextlib.contextmanager
def running(side: Side, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server, up and warm: its process."""
    search = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    env = os.environ | search | {"PYTHONWARNINGS": "ignore"} | side.env
    until(lambda: not listens(side.port), "the server before it ends")
    with (work / "server.log").open("w") as log:
        process = subprocess.Popen(side.command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{side.port}{side.health}"), "the server starts")
        if process.poll() is not None:
            raise RuntimeError((work / "server.log").read_text()[-3000:])
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def measure(side: Side, files: Sequence[Path], seconds: float, work: Path) -> list[Load]:
    """Closed loop with 1 and with 16 clients, then an open loop at 70 % of what the 16 got."""
    with running(side, work):
        load(side, files, 4, 0, min(seconds, 10.0), work)
        closed = [load(side, files, clients, 0, seconds, work) for clients in (1, 16)]
        return [*closed, load(side, files, 1, 0.7 * closed[-1].per_second, seconds, work)]


def load(side: Side, files: Sequence[Path], clients: int, rate: float, seconds: float, work: Path) -> Load:
    """One run of the generator, pinned to the last core."""
    answers_file = work / "answers.json"
    settings = {
        "path": side.path,
        "mlflow": side.mlflow,
        "rate": rate,
        "seconds": seconds,
        "files": list(map(str, files)),
        "answers": str(answers_file),
    }
    command = [str(generator(work)), "-f", "benchmarks/serving_load.py", "--headless", "-u", str(clients), "-r", str(clients)]
    command += [
        "-t",
        f"{seconds:g}s",
        "--host",
        f"http://127.0.0.1:{side.port}",
        "--only-summary",
        "--loglevel",
        "ERROR",
        "--stop-timeout",
        "60",
    ]
    env = os.environ | {"SERVING_LOAD": json.dumps(settings)}
    pin = ["taskset", "-c", str(max(os.sched_getaffinity(0)))]
    subprocess.run([*pin, *command], cwd=ROOT, env=env, check=False, capture_output=True)
    told: dict[str, Any] = json.loads(answers_file.read_text())
    answers_file.unlink()
    latencies = told["latencies"]
    failed = sum(count for code, count in told["codes"].items() if code != "200")
    timings = {key: statistics.mean(one[key] for one in told["timings"] if key in one) for key in (told["timings"] or [{}])[0]}
    p50, p99 = np.percentile(latencies, [50, TAIL])
    return Load(clients, rate, (len(latencies) - failed) / told["seconds"], p50, p99, failed, told["generator_cpu"], timings)


def generator(work: Path) -> Path:
    """Locust, installed where it disturbs nobody."""
    if not (work / "load" / "bin" / "locust").exists():
        subprocess.run([sys.executable, "-m", "venv", str(work / "load")], check=True)
        subprocess.run([str(work / "load" / "bin" / "pip"), "install", "--quiet", LOCUST], check=True)
    return work / "load" / "bin" / "locust"


def predictors_own_time(bundle: Path, files: Sequence[Path], threads: int) -> dict[str, float]:
    """Milliseconds of each step for one radiograph, medians, without any server."""
    torch.set_num_threads(threads)
    predictor, steps = Predictor(load_bundle(bundle)), {"decode": [], "predict": [], "rle": []}
    for file in [*files[:4], *files]:
        marks = [time.perf_counter()]
        found = read_radiograph(file)
        marks.append(time.perf_counter())
        [prediction] = predictor.predict([found.pixels])
        marks.append(time.perf_counter())
        encode_rle(prediction.mask)
        marks.append(time.perf_counter())
        for name, start, end in zip(steps, marks, marks[1:], strict=False):
            steps[name].append((end - start) * 1000)
    own = {name: statistics.median(times[4:]) for name, times in steps.items()}
    return own | {"together": sum(own.values())}


def table(measured: Mapping[str, Sequence[Sequence[Load]]]) -> Iterator[str]:
    """Medians over the rounds."""
    for place, what in enumerate(("1 client", "16 clients", "open loop at 70 %")):
        yield f"{what}:\n"
        yield "| side | requests/s | p50 ms | p99 ms | failed | generator's CPU | its steps, ms |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for name, rounds in measured.items():
            loads = [loads[place] for loads in rounds]
            rate, p50, p99, cpu = (
                statistics.median(getattr(one, key) for one in loads) for key in ("per_second", "p50", "p99", "generator_cpu")
            )
            steps = ", ".join(f"{key} {value:.1f}" for key, value in loads[-1].timings_ms.items())
            failed = sum(one.failed for one in loads)
            yield f"| {name} | {rate:.2f} | {p50 * 1000:.0f} | {p99 * 1000:.0f} | {failed} | {cpu:.0%} | {steps} |"
        yield ""


def record(path: Path, size: int, threads: int, own: Mapping[str, float], measured: Mapping[str, Sequence[Sequence[Load]]]) -> None:
    """A line for each measurement."""
    with path.open("a") as file:
        for name, rounds in measured.items():
            for number, loads in enumerate(rounds):
                for one in loads:
                    line = {"size": size, "threads": threads, "own_ms": dict(own), "side": name, "round": number} | one._asdict()
                    file.write(json.dumps(line) + "\n")


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for it, not for ever."""
    deadline = time.monotonic() + STARTS_WITHIN
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"in vain: {what}")
        time.sleep(0.5)


def listens(port: int) -> bool:
    """Whether anybody does there: Ray's processes outlive `serve run` by a while."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    """Whether a server is up."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
