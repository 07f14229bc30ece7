"""The entry points as Serve meets them: an import path with keys on the command line, and the YAML of both apps."""

import subprocess
import sys
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema

from tests.conftest import ROOT, Cluster
from tests.serving.served import PATIENCE, ServePort, tiny_bundle


@pytest.mark.ray
@pytest.mark.slow
def test_serve_run_takes_keys_from_the_command_line(serve_port: ServePort, cluster: Cluster, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    keys = [f"model={bundle.folder}", "compute.device=cpu", "limits.body_mb=0.01", "limits.seconds=50"]
    command = [str(Path(sys.executable).parent / "serve"), "run", "--non-blocking", "--name", "cli", "--route-prefix", "/cli"]
    ran = subprocess.run([*command, "serve_apps.cxr:app", *keys], cwd=ROOT, env=cluster.env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{serve_port.port}/cli", timeout=PATIENCE, trust_env=False) as client:
            picture = cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes()
            assert client.post("v1/segment", content=picture).json()["model"]["digest"] == bundle.digest
            assert client.post("v1/segment", content=bytes(10_001)).status_code == 413
    finally:
        serve.delete("cli")


@pytest.mark.ray
def test_a_mistake_in_a_key_is_told(cluster: Cluster) -> None:
    command = [str(Path(sys.executable).parent / "serve"), "run", "--non-blocking", "--name", "wrong", "--route-prefix", "/wrong"]
    ran = subprocess.run(
        [*command, "serve_apps.cxr:app", "modle=x"], cwd=ROOT, env=cluster.env, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0 and "modle" in ran.stderr


def test_the_file_of_both_apps_is_one_that_serve_takes() -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "serve_apps" / "serve.yaml").read_text()))
    assert [(app.name, app.route_prefix) for app in config.applications] == [("cxr", "/cxr"), ("ct", "/ct")]
    assert config.http_options.host == "127.0.0.1"
