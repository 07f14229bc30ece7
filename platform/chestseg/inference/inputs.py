"""Which images to segment, and what to call each."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")
PREAMBLE = 128
MAGIC = b"DICM"


def list_images(named: Sequence[str | Path]) -> list[Path]:
    """Expand files, folders and glob patterns to files, each once, in a fixed order.

    A folder stands for the images below it: files ending as DICOM, PNG or JPEG do, and DICOM files by whatever name. A file that is
    named is taken as it is, so that reading it can say what is wrong.

    Raises:
        ValueError: a folder without images, or a pattern that matches nothing.
    """
    found: dict[Path, None] = {}
    for name in named:
        found |= dict.fromkeys(_expand(Path(name)))
    return list(found)


def case_names(paths: Sequence[Path]) -> list[str]:
    """A name for each path, fit for a file: its stem. Where stems are equal, twelve digits of the path's SHA-256 tell them apart.

    A name depends on its own path and on whether the stem is shared, not on the order.
    """
    stems = [path.stem if path.suffix.lower() in SUFFIXES else path.name for path in paths]
    # Some file systems take A and a for the same name.
    times = Counter(stem.casefold() for stem in stems)
    return [stem if times[stem.casefold()] == 1 else f"{stem}-{_digest(path)}" for stem, path in zip(stems, paths, strict=True)]


def name_of_source(source: str | Path) -> str:
    """As records call it: a path with slashes, a URI as it is."""
    return source if isinstance(source, str) else source.as_posix()


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        images = sorted(_images_below(path))
        if not images:
            raise ValueError(f"{path}: no DICOM, PNG or JPEG in this folder: name another, or the files themselves")
        return images
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise ValueError(f"{path}: no file matches this pattern: check it, and quote it where the shell should not expand it")
    return [image for match in matches for image in ([Path(match)] if Path(match).is_file() else _images_below(Path(match)))]


def _images_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for path in (Path(parent, name) for name in sorted(files)) if _is_image(path))


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file():
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    with open(path, "rb") as file:
        return file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC


def _digest(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode()).hexdigest()[:12]
