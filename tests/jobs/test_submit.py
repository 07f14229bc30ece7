"""Jobs submitted to a started cluster as the README says, with token authentication on."""

import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
RUNTIME_ENV = "jobs/runtime_env.yaml"


def submit(cluster, *entrypoint: str) -> subprocess.CompletedProcess[str]:
    ray = Path(sys.executable).parent / "ray"
    command = [ray, "job", "submit", "--address", cluster.dashboard_url, "--runtime-env", RUNTIME_ENV, "--", *entrypoint]
    return subprocess.run(command, cwd=ROOT, env=cluster.env, capture_output=True, text=True)


def test_without_the_token_the_job_api_answers_401(cluster):
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"{cluster.dashboard_url}/api/jobs/", timeout=30)
    answer.value.close()
    assert answer.value.code == 401


def test_a_job_brings_its_code_and_joins_its_cluster(cluster):
    program = (
        "import chestseg, os, ray; from chestseg.distributed.cluster import attach\n"
        "print('brought', *sorted(os.listdir()))\n"
        "with attach():\n"
        "    where = ray.get(ray.remote(lambda: __import__('chestseg').__file__).remote())\n"
        "    print('head', ray.get_runtime_context().gcs_address, 'driver', chestseg.__file__, 'worker', where)"
    )
    done = submit(cluster, "python", "-c", program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"head {cluster.address}" in done.stdout
    assert re.search(r"driver \S*working_dir_files\S*/platform/chestseg/__init__.py worker \S*working_dir_files", done.stdout)
    [brought] = re.findall("^brought (.*)$", done.stdout, re.MULTILINE)
    assert {"jobs", "platform"} <= set(brought.split())
    assert {".git", ".venv", "tests", "docs"}.isdisjoint(brought.split())


def test_a_users_mistake_is_one_line_and_fails_the_job(cluster):
    done = submit(cluster, "python", "jobs/prepare.py", "jobs/configs/absent.yaml")
    assert done.returncode != 0
    assert "chestseg: error: jobs/configs/absent.yaml: No such file or directory" in done.stdout
    assert "Traceback" not in done.stdout
