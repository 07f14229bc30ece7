"""A zip of a series, unpacked without trusting it: limits on count, size and ratio, and no name of its own reaches the disk."""

import contextlib
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from chestseg.files import FULL, NoSpace, require_space

MOST_MEMBERS = 20_000
MOST_BYTES = 2**32
"""8,192 slices of 512x512 in 16 bits."""
MOST_RATIO = 200
"""Unpacked bytes to packed ones. Scans, even where much is padding, stay below 50; a bomb is at 1000."""
LEAST_SUSPECT = 2**26
"""Smaller contents are harmless at any ratio."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1
DRIVE = re.compile("^[A-Za-z]:")


@contextlib.contextmanager
def unzipped(path: Path, *, most_members: int | None = None, below: Path | None = None) -> Iterator[Path]:
    """Unpack a zip into a new temporary folder, flat, its files numbered; the folder is gone after the block.

    Hidden files and macOS's own are passed over. Everything is checked before the first byte is unpacked; Python's reader stops at the
    size that a member declares, so no file becomes larger than what was checked.

    Args:
        path: of the zip.
        most_members: files that are unpacked, at most; `MOST_MEMBERS` where it is less or None.
        below: where the folder is made; among the system's temporary files when None.

    Raises:
        ValueError: one line that names the zip: damaged, encrypted, in an uncommon compression, too many or too large files, a ratio as
            of a bomb, names that lead out of a folder, or links.
        NoSpace: the same for too little space.
    """
    with contextlib.ExitStack() as closing:
        try:
            archive = closing.enter_context(zipfile.ZipFile(path))
            members = _checked(path, archive, MOST_MEMBERS if most_members is None else most_members)
            folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chestseg-zip-", dir=below)))
            require_space(folder, sum(member.file_size for member in members), f"what {path} holds")
            for number, member in enumerate(members):
                with archive.open(member) as packed, open(folder / f"{number:05}", "wb") as file:
                    shutil.copyfileobj(packed, file)
        except OSError as error:
            kind = NoSpace if error.errno in FULL else ValueError
            raise kind(f"{path}: {error.strerror or error}: check the path, the file and the space left") from None
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: damaged zip ({' '.join(str(error).split())[:200] or 'ends early'}): pack or copy it again") from None
        yield folder


def _checked(path: Path, archive: zipfile.ZipFile, most: int) -> list[zipfile.ZipInfo]:
    """The members to unpack, at most so many."""
    listed = archive.infolist()
    if len(listed) > MOST_MEMBERS:
        raise ValueError(f"{path}: {len(listed)} files, more than {MOST_MEMBERS}: pack one study into each zip")
    unpacked, packed = sum(member.file_size for member in listed), path.stat().st_size
    if unpacked > MOST_BYTES:
        raise ValueError(f"{path}: {unpacked / 1e9:.1f} GB unpacked, more than {MOST_BYTES / 1e9:.1f}: pack one study into each zip")
    if unpacked > max(LEAST_SUSPECT, MOST_RATIO * packed):
        raise ValueError(f"{path}: unpacks to {unpacked / packed:.0f} times its size, as no scan does: pack the series again")
    for member in listed:
        _check(path, member)
    members = [member for member in listed if not (member.is_dir() or _hidden(member))]
    if len(members) > most:
        raise ValueError(f"{path}: a zip of {len(members)} files, more than {most}: pack the files of one series")
    return members


def _check(path: Path, member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or DRIVE.match(member.filename):
        raise ValueError(f"{path}: {member.filename[:80]!r} leads out of the zip's folder: pack the series' folder again")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"{path}: {member.filename[:80]!r} is a link: pack the files themselves")
    if member.flag_bits & ENCRYPTED:
        raise ValueError(f"{path}: {member.filename[:80]!r} is encrypted: unpack it with its password and name the folder")
    if member.compress_type not in METHODS:
        raise ValueError(
            f"{path}: {member.filename[:80]!r} is packed by method {member.compress_type}: pack it again with deflate, zip's usual one"
        )


def _hidden(member: zipfile.ZipInfo) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(member.filename).parts)
