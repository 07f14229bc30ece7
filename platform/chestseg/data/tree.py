"""Files of a folder and all its sub-folders by their stem, without opening any."""

import os
from collections.abc import Collection
from pathlib import Path

from chestseg.config import Source

DICOM = frozenset({".dcm", ".dicom"})
IMAGES = DICOM | {".png", ".jpg", ".jpeg"}


def files_by_stem(folder: Path, suffixes: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Paths of files with one of `suffixes`, in any case, by stem and in its order; then the paths of other files.

    Links to folders are followed; hidden files, such as those a Mac adds to an archive, do not count.

    Raises:
        ValueError: no such folder, or two files with one stem.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder: correct data.sources, or unpack the images there")
    found: dict[str, str] = {}
    others: list[str] = []
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            stem, suffix = os.path.splitext(name)
            path = os.path.join(parent, name)
            if name.startswith("."):
                continue
            if suffix.lower() not in suffixes:
                others.append(path)
                continue
            other = found.setdefault(stem, path)
            if other is not path:
                first, second = sorted((other, path))
                raise ValueError(f"{first} and {second} are both case {stem!r}: remove or rename one of them")
    return dict(sorted(found.items())), sorted(others)


def source_name(source: Source) -> str:
    """What the manifest calls a source: its own name, or its folder's."""
    return source.name or Path(source.path).absolute().name
