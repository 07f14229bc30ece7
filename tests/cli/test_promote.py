"""`chestseg promote` from registered bundles to the alias: on a real server, by processes of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml

from chestseg.bundle import save_bundle
from chestseg.cli import main
from chestseg.config import Postprocessing, Tracking
from chestseg.data.manifest import write_table
from chestseg.data.prepared import PreparedDataset, array_path, shard_folder
from chestseg.inference.golden import make_golden
from chestseg.inference.predictor import LiveModel, Predictor
from chestseg.preprocessing import Preprocessing
from chestseg.tracking.environment import connect
from chestseg.tracking.evaluations import start_run
from chestseg.tracking.journal import Registration
from chestseg.tracking.promotion import CHAMPION, PREVIOUS, version_under
from chestseg.tracking.registration import register_entry
from tests.conftest import ROOT
from tests.empty_store import empty_store
from tests.evaluation.prepared import SIZES, write_prepared
from tests.inference.tiny import SIZE, tiny_network, tiny_spec
from tests.servers import mlflow_server, postgresql

MODEL = "cxr-gate"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def teach(dataset: PreparedDataset) -> dict[str, float]:
    """Make the masks of the test split what the tiny network finds at its median probability; thresholds at which it finds more."""
    predictor = Predictor(LiveModel(tiny_network(), Preprocessing(size=SIZE), Postprocessing()))
    maps = predictor.probabilities([dataset.image(int(index), SIZE) for index in dataset.indices("test")])
    best, good, fair = (float(np.quantile([found.mask for found in maps], share)) for share in (0.5, 0.35, 0.2))
    exact = Predictor(LiveModel(predictor.network, Preprocessing(size=SIZE), Postprocessing(threshold=best)))
    for size in SIZES:
        path = array_path(shard_folder(dataset.folder, 0), "mask", size)
        planes = np.load(path)
        for index in dataset.indices("test"):
            planes[index] = exact.predict([dataset.image(int(index), SIZE)], (size, size))[0].mask
        np.save(path, planes)
    return {"best": best, "good": good, "fair": fair}


class Gate:
    """A server, a dataset that a tiny network knows, and `promote` for it."""

    def __init__(self, folder: Path, uri: str, lock: str | None, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.uri, self.capsys = folder, uri, capsys
        self.dataset = write_prepared(folder / "prepared")
        self.thresholds = teach(self.dataset)
        self.config = write_config(folder, self.dataset, uri, {"judged": "value", "guarded": {"dice_positives": 0.02}, "lock": lock})
        self.client, self.tracking = connect(uri), Tracking(uri=uri, experiment="gate", model=MODEL)

    def register(self, name: str, **changed: object) -> str:
        """A new version, which becomes the candidate."""
        spec = tiny_spec(rule=Postprocessing(threshold=self.thresholds[name]))
        spec = spec.model_copy(update={"dataset_hash": self.dataset.hash, **changed})
        weights = {key: tensor.contiguous() for key, tensor in tiny_network().state_dict().items()}
        image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)
        bundle = save_bundle(self.folder / "bundles" / f"{name}{len(changed)}", spec, weights, make_golden(spec, weights, image))
        run = start_run(self.client, self.tracking, name, {})
        return register_entry(self.client, self.folder, Registration(run, str(bundle.folder), MODEL, {}))

    def promoted(self, *options: str) -> tuple[int, str]:
        """The command's code and what it printed."""
        code = main(["promote", self.config, *options])
        printed = self.capsys.readouterr()
        return code, printed.out + printed.err

    def aliases(self) -> tuple[str | None, str | None]:
        """Champion and the one before."""
        return version_under(self.client, MODEL, CHAMPION), version_under(self.client, MODEL, PREVIOUS)

    def two_at_once(self) -> str:
        """The version that two processes promote; one of them does."""
        version = self.register("best", code_version="x")
        command = [sys.executable, "jobs/promote.py", self.config]
        both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        told = [process.communicate() for process in both]
        assert sorted(process.returncode for process in both) == [0, 1], told
        said = " ".join(out for out, _ in told)
        assert f"version {version} replaces version 1: mean Dice +" in said and f"version {version} is the champion already" in said
        assert self.aliases() == (version, "1")
        return version

    def evidence(self, version: str) -> dict[str, Any]:
        """What was written of a version's promotion."""
        found = self.client.get_model_version(MODEL, version)
        mlflow.set_tracking_uri(self.uri)
        return json.loads(mlflow.artifacts.load_text(f"runs:/{found.run_id}/{found.tags['promotion_evidence']}"))


def test_promotion_refusal_two_at_once_and_rollback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow") as server:
        gate = Gate(tmp_path, server.uri, None, capsys)
        code, said = gate.promoted()
        assert code == 2 and "has no candidate at" in said
        gate.register("good")
        code, said = gate.promoted("--set", "gate.judged=interval")
        assert code == 1 and "cannot be judged: 3 patients with cases: no interval for fewer than 10" in said
        code, said = gate.promoted()
        assert (code, gate.aliases()) == (0, ("1", None)) and "version 1 is the first champion: mean Dice +" in said
        refusals(gate)
        winner = gate.two_at_once()
        record = gate.evidence(winner)
        assert record["decision"] == "promoted" and record["champion"]["version"] == "1" and record["dataset_hash"] == gate.dataset.hash
        assert record["checks"][0]["metric"] == "mean_dice" and record["checks"][0]["difference"]["value"] > 0
        assert record["lock_scope"].startswith("all who see the file")
        assert gate.promoted("--rollback")[0] == 0 and gate.aliases() == ("1", winner)
        code, said = gate.promoted()
        assert (code, gate.aliases()) == (1, ("1", winner)) and "it was rolled back on" in said


def refusals(gate: Gate) -> None:
    """Candidates that do not become champion."""
    gate.register("fair")
    code, said = gate.promoted()
    assert (code, gate.aliases()) == (1, ("1", None)) and "version 2 stays candidate: mean Dice -" in said
    for changed, words in (
        ({"dataset_hash": "another"}, "learned from dataset another"),
        ({"track": "ct"}, "is of track ct, the experiment's is cxr"),
    ):
        gate.register("best", **changed)
        code, said = gate.promoted()
        assert (code, gate.aliases()) == (1, ("1", None)) and words in said
    version = gate.register("best")
    gate.client.set_model_version_tag(MODEL, version, "bundle_sha256", "0" * 64)
    code, said = gate.promoted()
    assert (code, gate.aliases()) == (1, ("1", None)) and "the bundle is not as it was registered" in said


def test_postgresql_keeps_the_registry_and_the_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow").mkdir()
    with postgresql() as database, mlflow_server(tmp_path / "mlflow", database) as server:
        gate = Gate(tmp_path, server.uri, database, capsys)
        gate.register("good")
        assert gate.promoted()[0] == 0
        gate.register("fair")
        assert gate.promoted()[0] == 1 and gate.aliases() == ("1", None)
        winner = gate.two_at_once()
        assert gate.evidence(winner)["lock_scope"].startswith("all who connect to PostgreSQL")
        assert gate.promoted("--rollback")[0] == 0 and gate.aliases() == ("1", winner)


def write_config(folder: Path, dataset: PreparedDataset, uri: str, gate: dict[str, object]) -> str:
    data = {"sources": [{"reader": "siim", "path": "x"}], "prepared": str(dataset.folder), "sizes": list(SIZES), "folds": 3}
    tracking = {"uri": uri, "experiment": "gate", "model": MODEL}
    tree = {"name": "gate", "data": data, "stages": [{"size": 64, "epochs": 1}], "tracking": tracking, "gate": gate}
    (folder / "gate.yaml").write_text(yaml.safe_dump(tree | {"storage": str(folder / "runs")}))
    return str(folder / "gate.yaml")


def test_a_dataset_without_a_test_split_or_positives_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    uri = empty_store(tmp_path / "mlflow.db")
    config = write_config(tmp_path, dataset, uri, {})
    write_table(dataset.folder / "manifest.parquet", dataset.table.take([0, 1, 2, 3, 6]))
    assert main(["promote", config]) == 2
    assert "none of 1 cases of the test split is positive" in capsys.readouterr().err
    write_table(dataset.folder / "manifest.parquet", dataset.table.take([0, 1, 2, 3]))
    assert main(["promote", config]) == 2
    assert "has no test split, which the gate compares on: prepare with data.test_share above 0" in capsys.readouterr().err


def test_what_a_split_cannot_show_is_said_before_anything_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, write_prepared(tmp_path / "prepared"), f"sqlite:///{tmp_path}/mlflow.db", {})
    assert main(["promote", config]) == 2
    note, refusal = capsys.readouterr().err.splitlines()
    assert note.startswith("chestseg: note: gate: this split cannot show what the rule asks: 3 patients with cases: no interval")
    assert "no such MLflow database" in refusal
    assert main(["promote", config, "--set", "gate.judged=value"]) == 2
    assert "cannot show" not in capsys.readouterr().err
