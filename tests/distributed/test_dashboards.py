"""Which of the dashboards there are is shown. The command that serves them is tested in tests/cli."""

from pathlib import Path

import pytest

from chestseg.distributed.dashboards import NOTE, mlflow_dashboard, ray_dashboard, tell_dashboard
from chestseg.distributed.local_server import wait_until_up
from tests.conftest import TOKEN_FILE, Cluster
from tests.servers import free_port


@pytest.mark.ray
def test_a_sweep_that_runs_tells_where_rays_dashboard_is(tmp_path: Path, cluster: Cluster) -> None:
    with tell_dashboard(tmp_path), ray_dashboard(tmp_path) as dashboard:
        assert dashboard.url == cluster.dashboard_url
        assert dashboard.hints == (f"asks for a token: the content of {TOKEN_FILE}",)
        wait_until_up([dashboard])
    assert not (tmp_path / NOTE).exists()


@pytest.mark.ray
def test_a_value_for_the_token_is_not_repeated(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with tell_dashboard(tmp_path), ray_dashboard(tmp_path) as dashboard:
        assert dashboard.hints == ("asks for a token: the value of RAY_AUTH_TOKEN",)


def test_a_tracking_server_is_shown_and_not_served_again() -> None:
    away = f"http://127.0.0.1:{free_port()}"
    with mlflow_dashboard(away, page="#/experiments/1") as dashboard:
        assert (dashboard.url, dashboard.process) == (f"{away}/#/experiments/1", None)
        with pytest.raises(ValueError, match="MLflow at .* does not answer: see that it runs"):
            wait_until_up([dashboard])


def test_no_empty_database_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such MLflow database"), mlflow_dashboard(f"sqlite:///{tmp_path}/mlflow.db"):
        pass
    assert not list(tmp_path.iterdir())
