"""YAML to a checked record, with `--set key.path=value` on top, and errors a person can act on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from chestseg.config.experiment import EXPERIMENTS, Experiment
from chestseg.config.strict import Strict

Record = TypeVar("Record", bound=Strict)


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment from YAML.

    Args:
        path: the YAML file.
        overrides: `key.path=value` pairs; a number in the path picks an element of a list, the value is read as YAML.

    Raises:
        ValueError: one line that names the file, the key and the remedy.
    """
    return experiment_from(read_tree(path, overrides, "an experiment"), where=str(path))


def read_tree(path: str | Path, overrides: Sequence[str], what: str) -> dict[str, Any]:
    """A YAML file's mapping of keys with `key.path=value` overrides applied; `what` the file should describe is for errors.

    Raises:
        ValueError: one line that names the file and the remedy.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give the path of {what}'s YAML, such as those in jobs/configs/") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text: is it {what}'s YAML?") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: {what} is a mapping of keys, found {type(tree).__name__}")
    for override in overrides:
        _set(tree, override)
    return tree


def experiment_from(tree: dict[str, Any], where: str = "experiment") -> Experiment:
    """The experiment a tree of keys describes, of the kind its `track` names; `where` is what errors call the tree.

    Raises:
        ValueError: an unknown track, or what its experiments refuse.
    """
    track = tree.get("track", next(iter(EXPERIMENTS)))
    if not isinstance(track, str) or track not in EXPERIMENTS:
        raise ValueError(f"{where}: track: {' or '.join(EXPERIMENTS)}, found {track!r}")
    return parse(EXPERIMENTS[track], tree, where=where)


def parse(record: type[Record], tree: dict[str, Any], where: str) -> Record:
    """Check `tree` against `record`; pydantic's findings become one line each, the first of them first."""
    try:
        return record.model_validate(tree)
    except ValidationError as error:
        findings = [_finding(e) for e in error.errors(include_url=False)]
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise ValueError(f"{where}: {findings[0]}{more}") from None


def _finding(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "the whole"
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    shown = f", found {given!r}" if isinstance(given, (str, int, float, bool, type(None))) else ""
    return f"{key}: {message}{shown}"


def _set(tree: dict[str, Any], override: str) -> None:
    """Apply one `key.path=value`; intermediate mappings are made where the file leaves them out."""
    path, sign, value = override.partition("=")
    if not sign or not path:
        raise ValueError(f"--set {override}: write key.path=value, for example stages.0.epochs=3")
    *parents, last = path.split(".")
    node: Any = tree
    for part in parents:
        node = _child(node, part, override)
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"--set {override}: the value is not YAML: quote it, or close its brackets") from None
    if isinstance(node, list):
        node[_position(node, last, override)] = parsed
    else:
        node[last] = parsed


def _child(node: Any, part: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, part, override)]
    if not isinstance(node.get(part), (dict, list)):
        node[part] = {}
    return node[part]


def _position(node: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ValueError(f"--set {override}: {part!r} is not a place in a list of {len(node)} (0 to {len(node) - 1})")
    return int(part)
