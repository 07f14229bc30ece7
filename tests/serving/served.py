"""Apps on the session's cluster, over HTTP as clients meet them, and bundles for them to serve."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from ray import serve
from ray.serve import Application

from chestseg.bundle import Bundle, save_bundle
from chestseg.config import Postprocessing
from chestseg.inference.golden import make_golden
from tests.inference.tiny import SIZE, tiny_network, tiny_spec
from tests.servers import free_port

PATIENCE = 60.0


def tiny_bundle(folder: Path, seed: int = 0, rule: Postprocessing | None = None) -> Bundle:
    """A tiny network's bundle with its golden case; another seed is another version."""
    spec, weights = tiny_spec(rule=rule), tiny_network(seed=seed).state_dict()
    image = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    return save_bundle(folder, spec, weights, make_golden(spec, weights, image))


class ServePort:
    """Serve on the session's cluster, started once, on a free port of loopback."""

    def __init__(self) -> None:
        self.port = free_port()
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": self.port})

    @contextlib.contextmanager
    def running(self, app: Application, name: str) -> Iterator[httpx.Client]:
        """A client of `app`, which runs under /NAME until the block ends."""
        serve.run(app, name=name, route_prefix=f"/{name}")
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}/{name}", timeout=PATIENCE, trust_env=False) as client:
                yield client
        finally:
            serve.delete(name)
