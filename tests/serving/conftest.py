"""One Serve for all tests of endpoints."""

from collections.abc import Iterator

import pytest
from ray import serve

from tests.conftest import Cluster
from tests.serving.served import ServePort


@pytest.fixture(scope="session")
def serve_port(cluster: Cluster) -> Iterator[ServePort]:
    assert cluster.address
    port = ServePort()
    yield port
    serve.shutdown()
