"""Replicas from least to most and back, for radiographs and for volumes; on one node, and with nodes that Ray's autoscaler adds.

`python -m benchmarks.serving_scale --app cxr|ct [--nodes] [--image docs/images/scale-cxr.png]`. Radiographs: closed loops of 1, then 12,
then 1 client, so that requests at work and waiting rise and fall. Volumes: eight callers, each a job after the other, after a time without
any, from no replica. The peak ends 30 s after all replicas were there.
With `--nodes` the head has room for one replica only; Ray's autoscaler adds nodes of its fake provider, which are processes here, and
takes them away when they are idle. Twice a second it is noted how many replicas are ready and how many nodes there are, how many requests
or jobs are not answered, and how long answers took. Two cores do not compute faster for more replicas: what is shown is that they come
and go, not what they bring.
"""

import argparse
import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import matplotlib.pyplot as plt
import numpy as np
import psutil
import yaml
from benchmarks.serving_apps import pictures, serving
from benchmarks.serving_given import make_bundle

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.distributed.simulated_autoscaler import AutoscaledCluster
from tests.serving.ct_app import tiny_ct
from tests.serving.volumes_sent import nifti

MOST = 3
CLIENTS, QUIET_S = 12, 20.0
"""Of radiographs at the peak; seconds of one client before and after it, and of none before volumes."""
CALLERS = 8
SHAPE = (64, 96, 96)
GRID = Grid.upright(SHAPE, (4.0, 4.0, 4.0))
PEAK_S, LONGEST_S, AFTER_S = 30.0, 900.0, 300.0
"""With all replicas; longest wait for them; longest wait until all that came are gone."""


class Sample(NamedTuple):
    """What there was at a moment."""

    seconds: float
    replicas: int
    nodes: int
    waiting: int


class Load:
    """What is asked, and what came of it."""

    def __init__(self) -> None:
        self.start, self.waiting, self.failed = time.monotonic(), 0, 0
        self.answers: list[tuple[float, float]] = []
        """When they came, and after how many seconds."""
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A request or job, from its being sent to its end."""
        since = self.now()
        with self._lock:
            self.waiting += 1
        yield
        with self._lock:
            self.waiting -= 1
            self.answers.append((self.now(), self.now() - since))


def main() -> None:
    """Run, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", choices=("cxr", "ct"), required=True)
    parser.add_argument("--nodes", action="store_true", help="with nodes that come and go")
    parser.add_argument("--image", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder, contextlib.ExitStack() as closing:
        work = Path(folder)
        least, settings = settings_of(chosen.app, work, chosen.nodes)
        env = closing.enter_context(autoscaled_head()).driver_env if chosen.nodes else {}
        apps = closing.enter_context(serving({chosen.app: settings}, work, env))
        root = psutil.Process() if chosen.nodes else apps.process
        load, samples, ends = Load(), list[Sample](), threading.Event()
        kind = "cxr:Segmenter" if chosen.app == "cxr" else "ct:VolumeSegmenter"

        def settled() -> bool:
            return bool(samples) and samples[-1].replicas == least and samples[-1].nodes <= 1

        def seen() -> bool:
            full = next((one.seconds for one in samples if one.replicas == MOST), LONGEST_S)
            return load.now() > full + PEAK_S

        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch, root, kind, load, ends, samples)
            ask = ask_for_radiographs if chosen.app == "cxr" else ask_for_volumes
            ask(f"{apps.url}/{chosen.app}", work, load, seen)
            wait(settled, AFTER_S)
            ends.set()
            watching.result()
        tell(samples, load)
        if chosen.image:
            draw(chosen.image, chosen.app, samples, load, chosen.nodes)


def settings_of(app: str, work: Path, nodes: bool) -> tuple[int, dict[str, Any]]:
    """The least replicas, and the app's arguments."""
    whole = {"device": "cpu", "precision": "fp32", "cpus": 1 if nodes else 0.25, "threads": 1}
    if app == "cxr":
        replicas = {"min": 1, "max": MOST, "ongoing": 2, "up_s": 3, "idle_s": 12}
        return 1, {"model": str(make_bundle(work / "bundle", 256, "mobilenet_v2")), "replicas": replicas, "compute": whole}
    replicas = {"min": 0, "max": MOST, "up_s": 3, "idle_s": 12}
    jobs = {"store": f"sqlite:///{work}/jobs.db", "folder": str(work / "jobs"), "replica_voxels": 2 * int(np.prod(SHAPE)), "poll_s": 0.2}
    return 0, {"model": str(tiny_ct(work / "bundle").folder), "replicas": replicas, "compute": whole, "jobs": jobs}


def autoscaled_head() -> AutoscaledCluster:
    """A head of one CPU whose autoscaler adds nodes of one."""
    kinds = {"head": {"resources": {"CPU": 1}}, "worker": {"resources": {"CPU": 1}, "min_workers": 0, "max_workers": MOST}}
    launcher = {"cluster_name": "scale", "max_workers": MOST, "idle_timeout_minutes": 0.25}
    launcher |= {"available_node_types": kinds, "head_node_type": "head"}
    return AutoscaledCluster({"RAY_worker_niceness": "0", "PYTHONPATH": str(Path.cwd())}, launcher=launcher)


def watch(root: psutil.Process, kind: str, load: Load, ends: threading.Event, samples: list[Sample]) -> None:
    """Note what there is until the end."""
    while not ends.wait(0.5):
        names = []
        for process in root.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(" ".join(process.cmdline()))
        replicas = sum(name.startswith(f"ray::ServeReplica:{kind}") for name in names)
        nodes = sum(name.partition(" ")[0].endswith("raylet/raylet") for name in names)
        samples.append(Sample(load.now(), replicas, nodes, load.waiting))


def ask_for_radiographs(url: str, work: Path, load: Load, seen: Callable[[], bool]) -> None:
    """Closed loops of one, of many, of one."""
    [file] = [path.read_bytes() for path in pictures(work / "files", 1, 512)]

    def client(ends: Callable[[], bool]) -> None:
        with httpx.Client(timeout=120, trust_env=False) as http:
            while not ends():
                with load.one():
                    load.failed += http.post(f"{url}/v1/segment", content=file).status_code != 200

    for clients, peak in ((1, False), (CLIENTS, True), (1, False)):
        until_then = load.now() + QUIET_S
        together(clients, lambda _, peak=peak, then=until_then: client(seen if peak else lambda: load.now() > then))


def ask_for_volumes(url: str, work: Path, load: Load, seen: Callable[[], bool]) -> None:
    """Jobs of `CALLERS`, each sending the next when one has ended."""

    def caller(number: int) -> None:
        with httpx.Client(timeout=120, trust_env=False) as http:
            for turn in itertools.count():
                if seen():
                    return
                # No two alike: what was sent before would be the same job.
                values = np.full(SHAPE, 40, np.int16)
                values[0, 0, :3] = number, turn, -1000
                with load.one():
                    load.failed += ended(http, url, nifti(work, Volume(values, GRID), f"{number}.nii.gz")) != "done"

    time.sleep(QUIET_S)
    together(CALLERS, caller)


def ended(http: httpx.Client, url: str, body: bytes) -> str:
    """A job's last state."""
    place = http.post(f"{url}/v1/jobs", content=body).headers["Location"]
    while (state := http.get(f"{url.rpartition('/')[0]}{place}").json()["state"]) in ("queued", "running"):
        time.sleep(0.5)
    return state


def together(count: int, work: Callable[[int], None]) -> None:
    """In as many threads."""
    with ThreadPoolExecutor(count) as pool:
        for one in [pool.submit(work, number) for number in range(count)]:
            one.result()


def wait(found: Callable[[], bool], seconds: float) -> None:
    """Until it is so, or so long."""
    deadline = time.monotonic() + seconds
    while not found() and time.monotonic() < deadline:
        time.sleep(1)


def tell(samples: Sequence[Sample], load: Load) -> None:
    """Print the changes and the times."""
    before = None
    for one in samples:
        if before is None or (one.replicas, one.nodes) != (before.replicas, before.nodes):
            print(f"{one.seconds:6.1f} s: {one.replicas} replicas, {one.nodes} nodes, {one.waiting} at work or waiting")
        before = one
    took = [seconds for _, seconds in load.answers]
    print(f"{len(took)} answers, {load.failed} failed; seconds: median {np.median(took):.2f}, longest {max(took):.1f}")


def draw(path: Path, app: str, samples: Sequence[Sample], load: Load, nodes: bool) -> None:
    """Replicas and nodes, queue, and times, one above the other."""
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(8, 6.5), sharex=True, layout="constrained")
    seconds = [one.seconds for one in samples]
    top.step(seconds, [one.replicas for one in samples], where="post", label="replicas ready")
    if nodes:
        top.step(seconds, [one.nodes for one in samples], where="post", label="nodes, the head included", linestyle="--")
    top.set(ylabel="count", ylim=(-0.2, MOST + 1.6))
    top.legend(loc="upper left", frameon=False, ncols=2)
    what = "requests" if app == "cxr" else "jobs"
    middle.step(seconds, [one.waiting for one in samples], where="post", color="tab:red")
    middle.set(ylabel=f"{what} at work\nor waiting", ylim=(0, None))
    times = np.array(load.answers)
    bottom.plot(times[:, 0], times[:, 1], ".", markersize=3 if app == "cxr" else 8, color="tab:green")
    bottom.set(xlabel="seconds", ylabel="seconds from\nsent to answered", ylim=(0, None))
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(yaml.safe_dump({"image": str(path)}).strip())


if __name__ == "__main__":
    main()
