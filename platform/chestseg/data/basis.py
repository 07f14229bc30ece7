"""What labels and splits of a prepared dataset rest on besides the images; an experiment that says otherwise shows by it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chestseg.config import Data
from chestseg.files import sha256_of

FILES = ("folds_file", "patients_file")
PLACES = {"path", "name"}
"""Of a source: where it lies, which may change, and what it is called."""


def basis_of(data: Data) -> dict[str, Any]:
    """SHA-256 of the folds and patients files, None where there is none, and what is said of each source; ready for JSON."""
    files = {key: sha256_of(path) if (path := getattr(data, key)) else None for key in FILES}
    return {**files, "sources": _settings(data)}


def differences(basis: dict[str, Any], data: Data) -> Iterator[str]:
    """How the settings differ from a prepared dataset's basis, in words.

    What an earlier version did not keep is not compared. Nor is a file that is not there: a machine that only trains needs none.
    """
    for key in FILES:
        if key in basis:
            yield from _of_file(key, basis[key], getattr(data, key))
    if "sources" in basis:
        yield from _of_sources(basis["sources"], _settings(data))


def _settings(data: Data) -> list[dict[str, Any]]:
    return [source.model_dump(mode="json", exclude=PLACES) for source in data.sources]


def _of_file(key: str, before: str | None, path: str | None) -> Iterator[str]:
    if bool(before) != bool(path):
        yield f"{'a' if before else 'no'} data.{key}, now there is {path or 'none'}"
    elif path and Path(path).is_file() and sha256_of(path) != before:
        yield f"another data.{key} than {path} is now"


def _of_sources(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    if len(before) != len(now):
        yield f"{len(before)} data.sources, now they are {len(now)}"
        return
    # The order of sources decides nothing: cases are sorted.
    unmatched, changed = list(before), []
    for place, source in enumerate(now):
        same = next((was for was in unmatched if not _changed_keys(was, source)), None)
        if same is None:
            changed.append((place, source))
        else:
            unmatched.remove(same)
    for was, (place, source) in zip(unmatched, changed, strict=True):
        key = _changed_keys(was, source)[0]
        yield f"data.sources.{place}.{key} {was[key]}, now it is {source[key]}"


def _changed_keys(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [key for key, value in before.items() if now.get(key, value) != value]
