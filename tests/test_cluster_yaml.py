"""The cluster launcher's file fits Ray's schema and keeps to what the README promises of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent


@pytest.fixture
def launcher() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_it(launcher):
    filled = prepare_config(launcher)
    validate_config(filled)  # raises on what its schema does not know
    assert set(filled["available_node_types"]) == set(launcher["available_node_types"])


def test_ray_would_refuse_an_unknown_key(launcher):
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(launcher | {"max_wrokers": 1}))


def test_gpus_cost_nothing_while_idle(launcher):
    workers = {name: node for name, node in launcher["available_node_types"].items() if name != launcher["head_node_type"]}
    assert workers
    assert all(node["min_workers"] == 0 for node in workers.values())
    assert launcher["available_node_types"][launcher["head_node_type"]]["resources"].get("GPU", 0) == 0


def test_the_dashboard_is_on_loopback_and_every_node_has_the_token(launcher):
    [start] = [command for command in launcher["head_start_ray_commands"] if "--head" in command]
    assert "--dashboard-host=127.0.0.1" in start
    assert "~/.ray/auth_token" in launcher["file_mounts"]
    assert any("RAY_AUTH_MODE=token" in command for command in launcher["setup_commands"])


def test_what_it_mounts_of_the_checkout_exists(launcher):
    missing = [local for local in launcher["file_mounts"].values() if not local.startswith("~") and not (ROOT / local).exists()]
    assert not missing
