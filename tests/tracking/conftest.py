"""One MLflow server for all tracking tests, and what they track."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from chestseg.config import CxrExperiment, Experiment, Tracking, UNet2DModel, parse
from chestseg.tracking.environment import connect
from tests.servers import MlflowServer, mlflow_server


@pytest.fixture(scope="session")
def mlflow_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session", name="mlflow_server")
def mlflow_uri(mlflow_process: MlflowServer) -> str:
    return mlflow_process.uri


@pytest.fixture
def client(mlflow_server: str) -> MlflowClient:
    return connect(mlflow_server)


@pytest.fixture
def experiment(mlflow_server: str, request: pytest.FixtureRequest) -> Experiment:
    """Two stages; MLflow's experiment and model are called as the test is."""
    name = request.node.name.partition("[")[0]
    tracking = Tracking(uri=mlflow_server, experiment=name, model=name.replace("_", "-"))
    return small_experiment(tracking)


def small_experiment(tracking: Tracking) -> Experiment:
    tree = {
        "name": "small",
        "data": {"sources": [{"reader": "siim", "path": "x"}], "prepared": "x"},
        "model": UNet2DModel(encoder="mobilenet_v2", weights="none"),
        "stages": [{"size": 32, "epochs": 2, "optimiser": {"lr": 0.01}}, {"size": 64, "epochs": 3}],
        "tracking": tracking.model_dump(),
    }
    return parse(CxrExperiment, tree, "test")
