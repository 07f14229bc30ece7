"""Registered models by name, alias and version, and the bundles they carry."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from chestseg.files import sha256_of, whole_folder
from chestseg.tracking.environment import checked_uri, reach, reason, require_database, troubles

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE = "candidate"
BUNDLE_TAG = "bundle_sha256"
"""Tag of a version: SHA-256 of its bundle.json, which in turn holds those of all other files."""

VERSION = re.compile(r"models:/(?P<model>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")
DIGEST = re.compile(r"[0-9a-f]{64}")
ARTIFACTS = re.compile(r"runs:/[^/]+/.+")


def find_version(client: MlflowClient, model: str, run_id: str, bundle: Path) -> str | None:
    """The version that was registered from this run and this bundle, None where there is none."""
    versions = client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
    digest = bundle_digest(bundle)
    return next((str(v.version) for v in versions if v.tags.get(BUNDLE_TAG) == digest), None)


def version_of(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """The version behind an alias; None where the model or the alias does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        # A missing alias is INVALID_PARAMETER_VALUE to MLflow, a missing model RESOURCE_DOES_NOT_EXIST.
        if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return None
        raise


def bundle_digest(bundle: Path) -> str:
    """What identifies a bundle's content: SHA-256 of its bundle.json."""
    return sha256_of(bundle / "bundle.json")


def download_bundle(uri: str, tracking_uri: str, cache: Path | None = None) -> Path:
    """Folder of the bundle that `uri` names. A version that was fetched before comes from the cache; an alias is asked for every time.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/RUN/PATH` (a bundle among a run's artifacts).
        tracking_uri: of MLflow.
        cache: `~/.cache/chestseg/bundles` by default; XDG_CACHE_HOME is honoured.

    Raises:
        ValueError: another form of URI, MLflow can't be reached or has no such thing, or what it has is not a whole bundle.
    """
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "chestseg" / "bundles"
    cache.mkdir(parents=True, exist_ok=True)
    named = VERSION.fullmatch(uri)
    if not named and not ARTIFACTS.fullmatch(uri):
        raise ValueError(f"{uri}: give models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN/PATH")
    tracking_uri = checked_uri(tracking_uri)
    require_database(tracking_uri)
    client = reach(tracking_uri)
    try:
        if not named:
            return _fetch(uri, tracking_uri, cache, None)
        version = _version(client, named)
        known = DIGEST.fullmatch(version.tags.get(BUNDLE_TAG, ""))
        digest = known[0] if known else None
        if digest and _is_whole(cache / digest):
            return cache / digest
        location = client.get_model_version_download_uri(version.name, str(version.version))
        return _fetch(f"{location}/data", tracking_uri, cache, digest)
    except troubles() as error:
        raise ValueError(f"{uri}: MLflow at {tracking_uri} does not give it ({reason(error)}): check name, alias and version") from error


def _version(client: MlflowClient, named: re.Match[str]) -> ModelVersion:
    if named["alias"]:
        return client.get_model_version_by_alias(named["model"], named["alias"])
    return client.get_model_version(named["model"], named["version"])


def _is_whole(bundle: Path) -> bool:
    """Whether every file is there as bundle.json knows it; what the files mean is for `chestseg.bundle` to judge."""
    if not (bundle / "bundle.json").is_file():
        return False
    files = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["files"]
    return all((bundle / name).is_file() and sha256_of(bundle / name) == digest for name, digest in files.items())


def _fetch(source: str, tracking_uri: str, cache: Path, digest: str | None) -> Path:
    """Download, check, and only then put into the cache."""
    import mlflow.artifacts

    with tempfile.TemporaryDirectory(dir=cache, prefix=".") as temporary:
        mlflow.artifacts.download_artifacts(source, dst_path=temporary, tracking_uri=tracking_uri)
        found = next((path.parent for path in Path(temporary).rglob("bundle.json")), None)
        if found is None:
            raise ValueError(f"{source}: there is no bundle.json in it: register the model with chestseg")
        actual = bundle_digest(found)
        if not _is_whole(found) or (digest or actual) != actual:
            raise ValueError(f"{source}: the bundle is not as it was registered, a file is missing or changed: register it again")
        with whole_folder(cache / actual) as folder:
            shutil.copytree(found, folder, dirs_exist_ok=True)
    return cache / actual
