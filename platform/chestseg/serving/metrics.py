"""What Prometheus reads at Ray's metrics port: requests, time by step, batches, queue, jobs, model version, positives.

Ray writes its prefix before each name: `ray_chestseg_requests_total`. Tags of Serve (application, deployment, replica) come with them.
Ray drops a gauge that was not set for twenty seconds, so a thread repeats the last values.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from ray.serve.metrics import Counter, Gauge, Histogram

SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
BATCHES = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
MILLISECONDS = 1000
REPEATED_EVERY_S = 5.0


class Metrics:
    """The app's metrics; made in a replica, where Serve adds what tells replicas apart."""

    def __init__(self, app: str) -> None:
        self.app = {"app": app}
        self._held: dict[tuple[str, ...], tuple[Gauge, float, dict[str, str]]] = {}
        self._repeating = False

    @cached_property
    def _requests(self) -> Counter:
        return Counter("chestseg_requests_total", "Requests answered.", _keys("app", "route", "code"))

    @cached_property
    def _steps(self) -> Histogram:
        return Histogram("chestseg_step_seconds", "Seconds of a request by step.", SECONDS, _keys("app", "step"))

    @cached_property
    def _batches(self) -> Histogram:
        return Histogram("chestseg_batch_size", "Images computed at once.", BATCHES, _keys("app"))

    @cached_property
    def _queue(self) -> Gauge:
        return Gauge("chestseg_queue", "Radiographs at this replica that wait for the network or are in it.", _keys("app"))

    @cached_property
    def _jobs(self) -> Gauge:
        return Gauge("chestseg_jobs", "Jobs of the whole app, as any replica of it counts them.", _keys("app", "state"))

    @cached_property
    def _version(self) -> Gauge:
        return Gauge("chestseg_model_version", "Version served; 0 for a bundle that is none.", _keys("app", "role"))

    @cached_property
    def _answers(self) -> Counter:
        return Counter("chestseg_answers_total", "Images that a version segmented for an answer.", _keys("app", "version"))

    @cached_property
    def _positives(self) -> Counter:
        return Counter("chestseg_positives_total", "Those of them whose mask holds a pixel.", _keys("app", "version"))

    @cached_property
    def _disagreements(self) -> Counter:
        return Counter("chestseg_disagreements_total", "Answers where champion and candidate find and miss disease.", _keys("app"))

    @cached_property
    def _skipped(self) -> Counter:
        return Counter("chestseg_shadows_skipped_total", "Shadow requests that the candidate was not asked.", _keys("app", "why"))

    def request(self, route: str, code: int) -> None:
        """Count an answer; `route` is its pattern, never the path a client sent."""
        self._requests.inc(1, {**self.app, "route": route, "code": str(code)})

    def step(self, name: str, seconds: float) -> None:
        """Time of a step: read, decode, preprocess, queue, model, postprocess, encode, or of the whole."""
        self._steps.observe(seconds, {**self.app, "step": name})

    def batch(self, size: int) -> None:
        """Images of one call of the network."""
        self._batches.observe(size, self.app)

    def queue(self, length: int) -> None:
        """Requests at this replica."""
        self._hold(self._queue, length, self.app)

    def jobs(self, queued: int, running: int) -> None:
        """Jobs that wait and that are worked at, of the whole app: every replica tells the same."""
        for state, number in (("queued", queued), ("running", running)):
            self._hold(self._jobs, number, {**self.app, "state": state})

    def version(self, role: str, version: str | None) -> None:
        """The version that `role` (champion or candidate) serves from now on."""
        self._hold(self._version, float(version) if version and version.isdigit() else 0.0, {**self.app, "role": role})

    def no_version(self, role: str) -> None:
        """The role serves nothing any more; its gauge is gone within half a minute."""
        self._held.pop(_place(self._version, {**self.app, "role": role}), None)

    def answer(self, version: str | None, positive: bool) -> None:
        """Count an image that was segmented, and whether its mask holds a pixel."""
        tags = {**self.app, "version": version or "0"}
        self._answers.inc(1, tags)
        if positive:
            self._positives.inc(1, tags)

    def disagreement(self) -> None:
        """Count a request on whose disease two versions disagree."""
        self._disagreements.inc(1, self.app)

    def skipped(self, why: str) -> None:
        """Count a request that the candidate was to compute in the shadow and did not."""
        self._skipped.inc(1, {**self.app, "why": why})

    def _hold(self, gauge: Gauge, value: float, tags: dict[str, str]) -> None:
        gauge.set(value, tags)
        self._held[_place(gauge, tags)] = (gauge, value, tags)
        if not self._repeating:
            self._repeating = True
            threading.Thread(target=self._repeat, name="gauges", daemon=True).start()

    def _repeat(self) -> None:
        while True:
            time.sleep(REPEATED_EVERY_S)
            for gauge, value, tags in list(self._held.values()):
                gauge.set(value, tags)


class Steps:
    """The time one request spends in each step, for its answer's `timings_ms` and for Prometheus."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the block's time to the step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add time that was taken elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def milliseconds(self) -> dict[str, float]:
        """By step, to the microsecond."""
        return {name: round(seconds * MILLISECONDS, 3) for name, seconds in self.seconds.items()}

    def observe(self, metrics: Metrics) -> None:
        """Tell Prometheus."""
        for name, seconds in self.seconds.items():
            metrics.step(name, seconds)


def _place(gauge: Gauge, tags: dict[str, str]) -> tuple[str, ...]:
    """One of a gauge's series."""
    return gauge.info["name"], *tags.values()


def _keys(*names: str) -> Any:
    """Ray annotates tag keys as a tuple of one."""
    return names
