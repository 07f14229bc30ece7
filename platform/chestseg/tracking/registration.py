"""A bundle becomes a version of a registered model, one that `mlflow.pyfunc.load_model` can use, under the alias `candidate`.

A version carries the bundle's files, the package's sources and a loader module's name; nothing in it is unpickled. It has no
signature: the loader takes arrays, lists and tables (see `chestseg.inference.pyfunc`), and a signature would admit only one of them.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chestseg.tracking.journal import Registration
from chestseg.tracking.provenance import PACKAGE
from chestseg.tracking.registry import BUNDLE_TAG, CANDIDATE, bundle_digest, find_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

CARD = "README.md"
"""The model card in a bundle: MLflow shows it beside the version."""
LONGEST_DESCRIPTION = 5000
"""Characters MLflow keeps of it; the whole lies among the model's files."""
LOADER = "chestseg.inference.pyfunc"
REQUIREMENTS = (
    "imagecodecs", "mlflow", "nibabel", "numpy", "opencv-python-headless", "pandas", "pillow", "psutil", "pydantic", "pydicom", "pyyaml",
    "safetensors", "scipy", "segmentation-models-pytorch", "torch", "torchvision",
)  # fmt: skip
"""What the loader imports. Said outright, because MLflow would find out by loading the model."""


def register_entry(client: MlflowClient, folder: Path, entry: Registration) -> str:
    """Register a bundle and point `candidate` at it; one that was registered from the same run before is not registered twice.

    Args:
        client: of the MLflow that holds the run.
        folder: the run's, where a relative `entry.bundle` lies.
        entry: what to register, and the version's tags.

    Returns:
        The version.
    """
    bundle = folder / entry.bundle
    version = find_version(client, entry.model, entry.run, bundle) or _create_version(client, bundle, entry)
    client.set_registered_model_alias(entry.model, CANDIDATE, version)
    return version


def _create_version(client: MlflowClient, bundle: Path, entry: Registration) -> str:
    from mlflow.entities import LoggedModelOutput

    run = client.get_run(entry.run)
    logged = client.create_logged_model(run.info.experiment_id, entry.model, source_run_id=entry.run, tags=entry.tags)
    with tempfile.TemporaryDirectory() as temporary:
        _save_pyfunc(bundle, Path(temporary) / "model")
        client.log_model_artifacts(logged.model_id, f"{temporary}/model")
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(entry.run, [LoggedModelOutput(logged.model_id, step=0)])
    _ensure_model(client, entry.model)
    tags: dict[str, Any] = {**entry.tags, BUNDLE_TAG: bundle_digest(bundle)}
    # The location, not models:/ID: on a database without a server MLflow would look that id up in its process-wide default store.
    card = bundle / CARD
    created = client.create_model_version(
        entry.model, logged.artifact_location, entry.run, tags=tags, model_id=logged.model_id,
        description=card.read_text(encoding="utf-8")[:LONGEST_DESCRIPTION] if card.is_file() else None,
    )  # fmt: skip
    return str(created.version)


def _ensure_model(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _save_pyfunc(bundle: Path, path: Path) -> None:
    with warnings.catch_warnings():
        # MLflow warns of its own type hints when pyfunc is imported; nobody who registers a model can do anything about them.
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
        import mlflow.pyfunc
    mlflow.pyfunc.save_model(
        path,
        loader_module=LOADER,
        data_path=str(bundle),
        code_paths=[str(PACKAGE)],
        pip_requirements=[_pinned(name) for name in REQUIREMENTS],
    )


def _pinned(name: str) -> str:
    """The requirement at the version installed here, without a local suffix such as `+cpu` that PyPI does not know."""
    try:
        return f"{name}=={importlib.metadata.version(name).partition('+')[0]}"
    except importlib.metadata.PackageNotFoundError:
        return name
