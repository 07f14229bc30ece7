"""An empty MLflow database on SQLite: migrated once in each session of tests, which takes seconds, and copied from then on."""

import functools
import shutil
import tempfile
from pathlib import Path

from chestseg.tracking.environment import reach


def empty_store(path: Path) -> str:
    """URI of the database at `path`, which is made where it does not exist yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(_migrated().name, "mlflow.db"), path)
    return f"sqlite:///{path}"


@functools.cache
def _migrated() -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory(prefix="store-")
    reach(f"sqlite:///{folder.name}/mlflow.db")
    return folder
