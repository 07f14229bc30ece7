"""What readers of NIfTI files share: files by the stem of their names, and labels by name or number."""

from collections.abc import Mapping
from pathlib import Path

from chestseg.config import Source
from chestseg.data.tree import files_by_stem

ENDINGS = frozenset({".nii", ".gz"})


def niftis_by_stem(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Paths of `.nii` and `.nii.gz` files in a folder and below it, by stem and in its order; then the paths of other files.

    Raises:
        ValueError: no such folder, none in it, or two files with one stem.
    """
    named, others = files_by_stem(folder, ENDINGS)
    found: dict[str, str] = {}
    for name, path in named.items():
        if path.lower().endswith(".gz") and not name.lower().endswith(".nii"):
            others.append(path)
            continue
        stem = name[:-4] if name.lower().endswith(".nii") else name
        other = found.setdefault(stem, path)
        if other != path:
            first, second = sorted((other, path))
            raise ValueError(f"{first} and {second} are both case {stem!r}: remove or rename one of them")
    if not found:
        raise ValueError(f"{folder}: no .nii or .nii.gz file in it or below it: unpack the volumes there, or correct the source's folders")
    return dict(sorted(found.items())), sorted(others)


def label_values(source: Source, names: Mapping[str, tuple[int, ...]], default: tuple[int, ...]) -> tuple[int, ...]:
    """The label values a source counts as infiltrate: its `labels`, by name in any case or by number, else `default`.

    Raises:
        ValueError: a name or number that is none of the data set's.
    """
    if source.labels is None:
        return default
    by_name = {name.casefold(): values for name, values in names.items()}
    numbers = {value for values in names.values() for value in values}
    chosen: set[int] = set()
    for label in source.labels:
        values = by_name.get(label.casefold()) if isinstance(label, str) else (label,) if label in numbers else None
        if values is None:
            there = ", ".join(f"{name} ({'+'.join(map(str, values))})" for name, values in names.items())
            raise ValueError(f"{source.path}: `labels` names {label!r}, which is none of {there}: give one of these")
        chosen.update(values)
    return tuple(sorted(chosen))
