"""The load generator of `benchmarks.serving`, run by Locust in an environment and a process of its own.

Closed loop: each user sends its next request when the answer is there. Open loop: requests start at random moments of a fixed mean
rate (Poisson), whether or not earlier ones are answered, and a request's time counts from that moment.
"""

import base64
import json
import os
import random
import resource
import time
from pathlib import Path

import gevent
from gevent.pool import Group
from locust import FastHttpUser, constant, events, task
from locust.env import Environment

SETTINGS = json.loads(os.environ["SERVING_LOAD"])
"""path, mlflow (whether bodies are MLflow's), rate (requests a second of the open loop, 0 for a closed one), seconds, files, answers (a
file to write)."""
FILES = [Path(name).read_bytes() for name in SETTINGS["files"]]

latencies: list[float] = []
codes: dict[str, int] = {}
timings: list[dict[str, float]] = []
started = [0.0]
cpu = [0.0]


class Caller(FastHttpUser):
    """Sends radiographs."""

    wait_time = constant(0)
    connection_timeout = network_timeout = 120.0
    concurrency = 1000
    next = 0

    @task
    def call(self) -> None:
        """One request of the closed loop, or the whole open loop."""
        if not SETTINGS["rate"]:
            self.send(time.perf_counter())
            return
        due, calls = time.perf_counter(), Group()
        end = due + SETTINGS["seconds"]
        while due < end:
            gevent.sleep(max(0.0, due - time.perf_counter()))
            calls.spawn(self.send, due)
            due += random.expovariate(SETTINGS["rate"])
        calls.join()
        self.environment.runner.quit()

    def send(self, since: float) -> None:
        """Send the next file and note how long its answer took from `since`."""
        self.next = (self.next + 1) % len(FILES)
        data, headers = FILES[self.next], {"Content-Type": "application/dicom"}
        if SETTINGS["mlflow"]:
            body = {"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(data).decode()]]}}
            data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        answer = self.client.post(SETTINGS["path"], data=data, headers=headers)
        latencies.append(time.perf_counter() - since)
        codes[str(answer.status_code)] = codes.get(str(answer.status_code), 0) + 1
        if answer.status_code == 200 and not SETTINGS["mlflow"]:
            timings.append(json.loads(answer.content or b"{}").get("timings_ms", {}))


@events.test_start.add_listener
def begin(environment: Environment, **_: object) -> None:
    """From now on it counts."""
    started[0], cpu[0] = time.perf_counter(), _cpu_seconds()


@events.test_stop.add_listener
def end(environment: Environment, **_: object) -> None:
    """Write down what was measured, and the generator's own share of a processor."""
    took = time.perf_counter() - started[0]
    told = {
        "seconds": took,
        "latencies": latencies,
        "codes": codes,
        "timings": timings,
        "generator_cpu": (_cpu_seconds() - cpu[0]) / took,
    }
    Path(SETTINGS["answers"]).write_text(json.dumps(told))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
