"""Nothing from outside is unpickled, and a secret of the environment stays there."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from chestseg.cli import main
from chestseg.config import load_experiment
from chestseg.phantoms.radiograph.siim import write_siim
from tests.conftest import RAY_FOLDER, TOKEN_FILE
from tests.deployed import LOOKS_SECRET
from tests.small_job import small_job, write_job

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("platform", "jobs", "serve_apps", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
MAY_UNPICKLE = {
    "platform/chestseg/distributed/prepare.py",
    "platform/chestseg/distributed/batch_predict.py",
    "platform/chestseg/distributed/packed.py",
}
"""They pass rows, or a worker's loop, between the processes of one Ray job: bytes this program made, in memory, and no file."""
SECRETIVE = re.compile("TOKEN|PASS|SECRET|KEY|CREDENTIAL|AUTH")
SECRET = "s3cr3t-of-the-environment-4711"


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def given(call: ast.Call, name: str) -> object:
    """A keyword's literal value, None where it is not given."""
    return next((ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_unpickled(path: Path):
    for called, call in calls(path):
        module, _, function = called.rpartition(".")
        assert called != "torch.load" or given(call, "weights_only") is True, "torch.load without weights_only=True"
        assert called not in ("np.load", "numpy.load") or not given(call, "allow_pickle"), "np.load with pickles"
        assert called not in ("pd.read_pickle", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load")
        assert not (function == "load" and module in UNPICKLERS), f"{called} of a file"
        if function == "loads" and module in UNPICKLERS:
            assert str(path.relative_to(ROOT)) in MAY_UNPICKLE, f"{called}: where do these bytes come from?"


def test_those_that_may_unpickle_still_do():
    for name in MAY_UNPICKLE:
        assert any(called == "pickle.loads" for called, _ in calls(ROOT / name)), f"{name} is exempt and need not be"


def test_configs_and_what_travels_with_jobs_hold_no_secret():
    files = [*(ROOT / "jobs").rglob("*.yaml"), ROOT / "cluster.yaml", ROOT / "Makefile", ROOT / ".ci" / "run"]
    assert not [path for path in files if LOOKS_SECRET.search(path.read_text())]
    environment = yaml.safe_load((ROOT / "jobs" / "runtime_env.yaml").read_text())["env_vars"]
    assert not [name for name in environment if SECRETIVE.search(name)], "Ray shows these to whoever may see jobs"


@pytest.fixture(scope="module")
def trained(cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small training whose driver had secrets in its environment: all it wrote, said, and told Ray of itself."""
    folder = tmp_path_factory.mktemp("secret")
    write_siim(folder / "siim", 12, seed=1, size=64)
    config = write_job(
        folder, small_job(folder, "secret", [{"size": 32, "epochs": 1, "batch": 4}], training={}, tracking={"model": "cxr-secret"})
    )
    assert main(["prepare", str(config)]) == 0
    told = dict.fromkeys(("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"), SECRET)
    command = [sys.executable, "jobs/train.py", str(config)]
    done = subprocess.run(command, cwd=ROOT, env=cluster.env | told, capture_output=True, text=True, check=False)
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = [Path(sys.executable).parent / "ray", "job", "list", "--address", cluster.dashboard_url, "--log-style", "record"]
    listed = subprocess.run(jobs, env=cluster.env, capture_output=True, text=True, check=True)
    (folder / "jobs.txt").write_text(listed.stdout + listed.stderr)
    return folder


@pytest.mark.ray
@pytest.mark.slow
def test_secrets_of_the_environment_are_in_no_file_of_a_run_no_log_and_no_jobs_metadata(trained: Path):
    assert load_experiment(trained / "secret.yaml").name in (trained / "said.txt").read_text()
    assert "driver" in (trained / "jobs.txt").read_text().lower()
    written = [*trained.rglob("*"), *(RAY_FOLDER / "r").rglob("*")]
    files = [path for path in written if path.is_file() and not path.is_symlink()]
    assert any(path.name == "mlflow.db" for path in files) and any(path.suffix == ".log" for path in files)
    for secret in (SECRET.encode(), TOKEN_FILE.read_bytes().strip()):
        assert not [path for path in files if os.access(path, os.R_OK) and secret in path.read_bytes()]
