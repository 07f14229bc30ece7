"""The CT app on a really started Serve, and what its callers do."""

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from serve_apps.ct import app

from chestseg.bundle import save_bundle
from chestseg.config.serving import CtServing
from chestseg.inference.golden import make_golden
from chestseg.preprocessing import VolumePreprocessing
from tests.inference.tiny_volume import PREPROCESSING, tiny_network, tiny_spec
from tests.servers import free_port
from tests.serving.volumes_sent import HU

NAME = "ct"
WARD, OTHER = "ward-token-of-the-tests", "other-token-of-the-tests"
WITHIN_S = 120.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class CtApp:
    """A running app."""

    settings: CtServing
    url: str
    folder: Path
    """Of jobs."""
    sent: list[str] = field(default_factory=list)

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, token: str | None = WARD, **headers: str) -> Answer:
        """Any request; headers by their names in lower case, `_` for `-`."""
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            shown["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, body, shown, method=method)
        try:
            with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def send(self, body: bytes, kind: str = "application/octet-stream", query: str = "", token: str = WARD, **headers: str) -> Answer:
        """A volume."""
        return self.ask(f"/v1/jobs{query}", body, "POST", token, content_type=kind, **headers)

    def job(self, job_id: str, token: str = WARD) -> Any:
        """How a job stands."""
        answer = self.ask(f"/v1/jobs/{job_id}", token=token)
        assert answer.status == 200, answer.body
        return answer.json

    def until(self, job_id: str, *states: str, tiles: int = 0) -> Any:
        """A job once it is in one of `states`, with so many tiles done."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            job = self.job(job_id)
            if job["state"] in states and job["tiles"]["done"] >= tiles:
                return job
            assert job["state"] in ("queued", "running"), job
            time.sleep(0.05)
        raise AssertionError(job)

    def left(self) -> list[str]:
        """Uploads on disk."""
        return sorted(path.name for path in (self.folder / "uploads").iterdir())


def save_tiny(folder: Path) -> str:
    """A small model of volumes with a golden case."""
    network, spec = tiny_network(), tiny_spec()
    golden = make_golden(spec, network.state_dict(), VolumePreprocessing.to_uint8(PREPROCESSING, HU)[:8, :32, :32])
    return str(save_bundle(folder, spec, network.state_dict(), golden).folder)


def settings_for(model: str, folder: Path, **changed: Any) -> CtServing:
    """Settings of an app that keeps all it has in `folder`."""
    tokens = folder / "tokens.yaml"
    tokens.write_text(yaml.safe_dump({"ward": WARD, "other": OTHER}))
    tree: dict[str, Any] = {
        "model": model, "tokens": str(tokens), "cache": str(folder / "cache"), "front_cpus": 0.1, "compute.cpus": 1, "compute.threads": 1,
        "jobs.store": f"sqlite:///{folder}/jobs.db", "jobs.folder": str(folder / "jobs"), "jobs.lease_s": 2, "jobs.poll_s": 0.1,
        "jobs.at_once_voxels": HU.size,
    }  # fmt: skip
    return CtServing.model_validate(tree | changed)


def start_serve() -> str:
    """Serve on the session's cluster, with its proxy on loopback; the address of that."""
    from ray.serve.context import _get_global_client

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        return f"http://127.0.0.1:{port}"
    return f"http://127.0.0.1:{client.http_config.port}"


@contextlib.contextmanager
def running(settings: CtServing, name: str = NAME) -> Iterator[CtApp]:
    """The app, ready, and gone after the block."""
    address = start_serve()
    serve.run(app(settings), name=name, route_prefix=f"/{name}")
    try:
        yield CtApp(settings, f"{address}/{name}", Path(settings.jobs.folder))
    finally:
        serve.delete(name)


def replicas_of(deployment: str, name: str = NAME) -> list[str]:
    """Names of the actors of a deployment's replicas."""
    start = f"SERVE_REPLICA::{name}#{deployment}#"
    return [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if actor["name"].startswith(start)]


def kill(replica: str) -> None:
    """End a replica's process at once."""
    ray.kill(ray.get_actor(replica, namespace="serve"))
