"""A disk that fills up in mid-run, for real: a small file system of its own, and a file that takes what is left of it."""

import errno
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from chestseg.cli import main
from chestseg.config import load_experiment
from chestseg.phantoms.radiograph.siim import write_siim
from tests.empty_store import empty_store

pytestmark = [pytest.mark.drill, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SIZE_MB = 800


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Take all that is left, to the last block."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


def test_a_full_disk_ends_a_run_in_one_line_and_it_goes_on_when_there_is_space(tmp_path: Path, small_disk: Path, cluster) -> None:
    write_siim(tmp_path / "siim", 12, seed=1, size=64)
    tree = {
        "name": "full",
        "data": {
            "sources": [{"reader": "siim", "path": str(tmp_path / "siim")}],
            "prepared": str(tmp_path / "prepared"), "sizes": [32], "folds": 2, "test_share": 0,
        },
        "model": {"encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4]},
        "stages": [{"size": 32, "epochs": 60, "batch": 4, "micro_batch": 2}],
        "training": {"precision": "fp32", "checkpoint_every": 1, "max_failures": 100},
        "tracking": {"uri": empty_store(tmp_path / "mlflow.db"), "experiment": "full", "model": None},
        "storage": str(small_disk),
    }  # fmt: skip
    path = tmp_path / "full.yaml"
    path.write_text("# Made by a test.\n" + yaml.safe_dump(tree))
    assert main(["prepare", str(path)]) == 0
    run = Path(load_experiment(path).run_folder)
    command = [sys.executable, "jobs/train.py", str(path)]
    driver = subprocess.Popen(command, cwd=ROOT, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 240
    while len(list(run.glob("checkpoints/*/state.json"))) < 2:
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    fill(small_disk / "ballast")
    said, _ = driver.communicate(timeout=280)
    assert driver.returncode == 2, said[-6000:]
    last = said.splitlines()[-1]
    assert last.startswith("chestseg: error: ") and "No space left on device" in last, said[-3000:]
    (small_disk / "ballast").unlink()
    done = subprocess.run([*command, "--set", "stages.0.epochs=60"], cwd=ROOT, env=cluster.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Going on with" in done.stdout and "going on at stage" in done.stdout
