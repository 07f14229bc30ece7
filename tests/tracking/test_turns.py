"""Turns are held apart and end with who held them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chestseg.config import Experiment
from chestseg.tracking.turns import lock_of, scope_of, turn
from tests.conftest import ROOT
from tests.servers import postgresql

HOLD = "import sys; from chestseg.tracking.turns import turn\nwith turn(sys.argv[1], 'm'): print('held', flush=True); sys.stdin.read()"


@pytest.fixture(scope="module", params=["file", "postgresql"])
def lock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "file":
        yield str(tmp_path_factory.mktemp("lock") / "a" / "promotion.lock")
    else:
        with postgresql() as uri:
            yield uri


def test_one_at_a_time_and_free_when_the_holder_is_killed(lock: str) -> None:
    command = [sys.executable, "-c", HOLD, lock]
    with subprocess.Popen(command, cwd=ROOT / "platform", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another promotion holds it since 0.2 s"), turn(lock, "m", patience=0.2):
            pytest.fail("two at once")
        holder.kill()
    with turn(lock, "m", patience=30):
        pass


def test_models_of_one_database_do_not_wait_for_each_other() -> None:
    refused = pytest.raises(ValueError, match="another promotion holds it")
    with postgresql() as uri, turn(uri, "one"), turn(uri, "other", patience=0.2), refused, turn(uri, "one", patience=0.2):
        pytest.fail("two at once")


def test_which_lock_and_whom_it_holds_apart(experiment: Experiment, tmp_path: Path) -> None:
    def named(uri: str, lock: str | None = None) -> str:
        tracking = experiment.tracking.model_copy(update={"uri": uri, "model": "m"})
        gate = experiment.gate.model_copy(update={"lock": lock})
        return lock_of(experiment.model_copy(update={"tracking": tracking, "gate": gate, "storage": "runs"}))

    assert named(f"sqlite:///{tmp_path}/mlflow.db") == f"{tmp_path}/mlflow.db.promotion.lock"
    assert named("postgresql://me@host/db") == "postgresql://me@host/db"
    assert named("http://127.0.0.1:5000") == "runs/m.promotion.lock"
    assert named("http://127.0.0.1:5000", "postgresql://me@host/db") == "postgresql://me@host/db"
    assert scope_of("postgresql://me@host/db") == "all who connect to PostgreSQL on host, database db"
    assert scope_of("runs/m.promotion.lock") == "all who see the file m.promotion.lock"
    with pytest.raises(ValueError, match="gate.lock redis://x: give the path of a file, or postgresql"), turn("redis://x", "m"):
        pass
