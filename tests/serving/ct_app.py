"""The CT app on the tests' Serve, and what its callers do."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import ray
import yaml

from chestseg.bundle import Bundle, save_bundle
from chestseg.config.serving import CtServing
from chestseg.inference.golden import make_golden
from chestseg.serving.volumes import volumes
from tests.inference.tiny_volume import PREPROCESSING, tiny_network, tiny_spec
from tests.serving.served import ServePort
from tests.serving.volumes_sent import HU

NAME = "ct"
WARD, OTHER = "w" * 32, "o" * 32
PATIENCE_S = 200.0


@dataclass(frozen=True)
class CtApp:
    """A running app."""

    client: httpx.Client
    folder: Path
    """Of jobs."""
    name: str

    def ask(self, path: str, method: str = "GET", token: str | None = WARD, **headers: str) -> httpx.Response:
        """A request without a body."""
        return self.client.request(method, path, headers=_headers(token, headers))

    def send(
        self, body: bytes, kind: str = "application/octet-stream", query: str = "", token: str = WARD, **headers: str
    ) -> httpx.Response:
        """A volume."""
        return self.client.post(f"/v1/jobs{query}", content=body, headers=_headers(token, headers | {"Content-Type": kind}))

    def job(self, job_id: str) -> Any:
        """How a job stands."""
        answer = self.ask(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def until(self, job_id: str, *states: str, tiles: int = 0) -> Any:
        """A job once it is in one of `states`, with so many tiles done."""
        deadline = time.monotonic() + PATIENCE_S
        while (job := self.job(job_id))["state"] not in states or job["tiles"]["done"] < tiles:
            assert job["state"] in ("queued", "running") and time.monotonic() < deadline, job
            time.sleep(0.05)
        return job

    def done(self, sent: httpx.Response) -> Any:
        """The job that was answered with, once it is done."""
        assert sent.status_code in (200, 202), sent.text
        return self.until(sent.json()["id"], "done")

    def uploads(self) -> list[str]:
        """What is on disk of them."""
        return sorted(path.name for path in (self.folder / "uploads").iterdir())

    def results(self) -> list[str]:
        """What is on disk of them."""
        return sorted(path.name for path in (self.folder / "results").iterdir())


def tiny_ct(folder: Path) -> Bundle:
    """A small model of volumes with its golden case."""
    spec, weights = tiny_spec(), tiny_network().state_dict()
    return save_bundle(folder, spec, weights, make_golden(spec, weights, PREPROCESSING.to_uint8(HU)[:8, :32, :32]))


def settings_for(model: str, folder: Path, **changed: Any) -> CtServing:
    """Settings of an app that keeps all it has in `folder`; `changed` by dotted keys with `__` for the dot."""
    tokens = folder / "tokens.yaml"
    tokens.write_text(yaml.safe_dump({"ward": WARD, "other": OTHER}))
    tree: dict[str, Any] = {
        "model": model, "tokens": str(tokens), "cache": str(folder / "cache"), "front_cpus": 0.1, "compute.cpus": 0.5,
        "jobs.store": f"sqlite:///{folder}/jobs.db", "jobs.folder": str(folder / "jobs"), "jobs.lease_s": 2, "jobs.poll_s": 0.1,
        "jobs.at_once_voxels": HU.size,
    }  # fmt: skip
    return CtServing.model_validate(tree | {key.replace("__", "."): value for key, value in changed.items()})


@contextlib.contextmanager
def running(serve_port: ServePort, settings: CtServing, name: str = NAME) -> Iterator[CtApp]:
    """The app, ready, and gone after the block."""
    with serve_port.running(volumes(settings), name) as client:
        client.timeout = PATIENCE_S
        yield CtApp(client, Path(settings.jobs.folder), name)


def segmenters(app: CtApp) -> set[str]:
    """Names of the actors of the model's replicas."""
    start = f"SERVE_REPLICA::{app.name}#VolumeSegmenter#"
    return {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if actor["name"].startswith(start)}


def kill(replica: str) -> None:
    """End a replica's process at once."""
    ray.kill(ray.get_actor(replica, namespace="serve"))


def wait_until(found: Any, what: str) -> None:
    """Until `found()` is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _headers(token: str | None, headers: dict[str, str]) -> dict[str, str]:
    return headers | ({"Authorization": f"Bearer {token}"} if token else {})
