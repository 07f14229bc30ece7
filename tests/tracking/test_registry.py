"""A bundle goes into the registry and comes back out, whole, and predicts."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from chestseg.bundle import Bundle, load_bundle, save_bundle
from chestseg.config import Tracking, UNet2DModel
from chestseg.inference.predictor import Predictor
from chestseg.tracking.provenance import PACKAGE
from chestseg.tracking.registry import CANDIDATE, download_bundle, version_of
from chestseg.tracking.runs import open_run
from chestseg.tracking.tracked_run import TrackedRun
from tests.inference.tiny import tiny_network, tiny_spec
from tests.tracking.conftest import small_experiment

MODEL = "cxr-tiny"
PLATFORM = PACKAGE.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model = UNet2DModel(encoder="mobilenet_v2", weights="none", decoder_channels=(16, 16, 8, 8, 4))
    return save_bundle(tmp_path_factory.mktemp("made") / "bundle", tiny_spec(model), tiny_network(model).state_dict())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str, bundle: Bundle) -> TrackedRun:
    """A run with its bundle among the artifacts and registered."""
    experiment = small_experiment(Tracking(uri=mlflow_server, experiment="registry", model=MODEL))
    run = open_run(experiment.tracking, tmp_path_factory.mktemp("run"), experiment, "0123abcd")
    shutil.copytree(bundle.folder, run.folder / "bundle")
    run.log_files(run.folder / "bundle", "bundle")
    assert run.register(run.folder / "bundle", MODEL, {"mean_dice": 0.8, "split": "test"}) == "1"
    return run


def test_the_version_says_what_it_is(client: MlflowClient, run: TrackedRun, bundle: Bundle) -> None:
    version = client.get_model_version_by_alias(MODEL, CANDIDATE)
    assert (version.version, version.run_id) == ("1", run.run_id)
    assert version.tags == {"mean_dice": "0.8", "split": "test", "bundle_sha256": bundle.digest}


def test_registered_again_it_is_the_same_version(client: MlflowClient, run: TrackedRun) -> None:
    assert run.register(run.folder / "bundle", MODEL, {"mean_dice": 0.8}) == "1"
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_unknown_names_have_no_version(client: MlflowClient, run: TrackedRun) -> None:
    assert run.run_id
    assert version_of(client, MODEL, "nobody") is None
    assert version_of(client, "unheard-of", CANDIDATE) is None


@pytest.mark.parametrize("form", ["models:/{model}@candidate", "models:/{model}/1", "runs:/{run}/bundle"])
def test_comes_back_by_uri(tmp_path: Path, run: TrackedRun, bundle: Bundle, form: str) -> None:
    uri = form.format(model=MODEL, run=run.run_id)
    folder = download_bundle(uri, run.uri, cache=tmp_path)
    assert load_bundle(folder).spec == bundle.spec
    assert [path.name for path in tmp_path.iterdir()] == [bundle.digest]


def test_the_cache_is_used_while_it_is_whole(tmp_path: Path, run: TrackedRun) -> None:
    folder = download_bundle(f"models:/{MODEL}/1", run.uri, cache=tmp_path)
    before = (folder / "bundle.json").stat().st_ino
    assert (download_bundle(f"models:/{MODEL}@candidate", run.uri, cache=tmp_path) / "bundle.json").stat().st_ino == before
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"damage")
    assert load_bundle(download_bundle(f"models:/{MODEL}/1", run.uri, cache=tmp_path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/cxr-tiny", "give models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN/PATH"),
        ("models:/cxr-tiny@champion", "models:/cxr-tiny@champion: MLflow at .* does not give it .*: check name, alias and version"),
        ("models:/cxr-tiny/77", "does not give it"),
        ("models:/unheard-of/1", "does not give it"),
        ("runs:/00000000000000000000000000000000/bundle", "does not give it"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, run: TrackedRun, uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        download_bundle(uri, run.uri, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_a_server(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = small_experiment(Tracking(uri="sqlite:///mlflow.db", experiment="local", model=MODEL))
    with open_run(experiment.tracking, Path("run"), experiment, "0123abcd") as run:
        shutil.copytree(bundle.folder, "run/bundle")
        run.log_files(Path("run/bundle/bundle.json"), "notes")
        assert run.register(Path("run/bundle"), MODEL, {"mean_dice": 0.8}) == "1"
    monkeypatch.chdir("/")
    assert (run.folder, run.uri) == (tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db")
    assert (tmp_path / "mlartifacts" / "local" / run.run_id / "artifacts" / "notes" / "bundle.json").exists()
    assert load_bundle(download_bundle(f"models:/{MODEL}@candidate", run.uri, cache=tmp_path / "cache")).digest == bundle.digest
    assert not (tmp_path / "mlruns").exists()


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent.db: no such MLflow database: .* --tracking-uri"):
        download_bundle(f"models:/{MODEL}@candidate", f"sqlite:///{tmp_path}/absent.db", cache=tmp_path / "cache")
    assert not (tmp_path / "absent.db").exists()


LOAD_AND_PREDICT = """
import sys, mlflow, numpy
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
numpy.save(sys.argv[4], model.predict(numpy.load(sys.argv[3])))
import chestseg
print(chestseg.__file__)
"""


@pytest.mark.slow
def test_pyfunc_predicts_where_chestseg_is_not_installed(tmp_path: Path, run: TrackedRun, bundle: Bundle) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 80, 72), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    arguments = [run.uri, f"models:/{MODEL}@candidate", str(tmp_path / "images.npy"), str(tmp_path / "masks.npy")]
    # Isolated mode forgets PYTHONPATH and the current directory; an editable install would be found all the same.
    isolated = [sys.executable, "-I", "-c", f"import sys; sys.path = [p for p in sys.path if p != {str(PLATFORM)!r}]\n{LOAD_AND_PREDICT}"]
    answer = subprocess.run([*isolated, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert not Path(answer.stdout.splitlines()[-1]).is_relative_to(PLATFORM)
    expected = [found.mask for found in Predictor(bundle).predict(list(images))]
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), np.stack(expected))
