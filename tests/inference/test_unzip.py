"""Zips: what is inside arrives whole, and nothing else leaves a trace."""

import errno
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from chestseg.files import NoSpace
from chestseg.inference import unzip
from chestseg.inference.unzip import unzipped


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made: it has to be empty after each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def pack(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def check_refused(path: Path, message: str, temporary: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught, unzipped(path):
        pass
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert not list(temporary.iterdir())


def test_members_come_flat_and_numbered_and_go(tmp_path: Path, temporary: Path) -> None:
    members = {"scan/": b"", "scan/IM 2": b"two", "scan/b/IM1": b"one" * 999, ".DS_Store": b"x", "__MACOSX/scan/._IM1": b"x"}
    with unzipped(pack(tmp_path / "a.zip", members)) as folder:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"00000": b"two", "00001": b"one" * 999}
        assert folder.parent == temporary
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "\\\\host\\evil"])
def test_names_that_lead_out_are_refused(tmp_path: Path, temporary: Path, name: str) -> None:
    check_refused(pack(tmp_path / "a.zip", {"good": b"x", name: b"y"}), "leads out of the zip's folder", temporary)


def test_links_are_refused(tmp_path: Path, temporary: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    check_refused(tmp_path / "a.zip", "'link' is a link", temporary)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = pack(tmp_path / "a.zip", {"a": bytes(2**20)})
    monkeypatch.setattr(unzip, "LEAST_SUSPECT", 2**19)
    check_refused(bomb, r"unpacks to \d+ times its size", temporary)
    monkeypatch.setattr(unzip, "MOST_BYTES", 2**19)
    check_refused(bomb, r"0.0 GB unpacked, more than", temporary)
    monkeypatch.setattr(unzip, "MOST_MEMBERS", 2)
    check_refused(pack(tmp_path / "b.zip", {str(i): b"" for i in range(3)}), "3 files, more than 2", temporary)


def test_no_more_files_than_wanted_are_unpacked_where_they_are_wanted(tmp_path: Path, temporary: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    # Folders, and what is passed over, are no files of a series.
    path = pack(tmp_path / "a.zip", {"scan/": b"", "scan/1": b"one", "scan/2": b"two", ".DS_Store": b"x"})
    with pytest.raises(ValueError, match="a zip of 2 files, more than 1: pack"), unzipped(path, most_members=1, below=below):
        pass
    assert not list(below.iterdir())
    with unzipped(path, most_members=2, below=below) as folder:
        assert folder.parent == below and len(list(folder.iterdir())) == 2 and not list(temporary.iterdir())
    assert not list(below.iterdir())


def test_a_full_disk_is_not_the_zip_s_fault(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a.zip", {"a": b"x" * 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=99))
    with pytest.raises(NoSpace, match=r"what .*a\.zip holds needs"), unzipped(path):
        pass
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(NoSpace, match="No space left on device: check"), unzipped(path):
        pass


def test_declared_size_is_the_most_that_is_unpacked(tmp_path: Path, temporary: Path) -> None:
    content = bytearray(pack(tmp_path / "a.zip", {"a": os.urandom(1000) * 50}).read_bytes())
    for header, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(header)
        content[start + at : start + at + 4] = (100).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content)
    check_refused(tmp_path / "a.zip", "damaged zip .Bad CRC-32", temporary)


def test_encrypted_and_uncommon_and_damaged(tmp_path: Path, temporary: Path) -> None:
    check_refused(pack(tmp_path / "a.zip", {"a": b"x" * 100}, zipfile.ZIP_LZMA), "packed by method 14", temporary)
    content = bytearray(pack(tmp_path / "b.zip", {"a": os.urandom(5000)}).read_bytes())
    (tmp_path / "c.zip").write_bytes(content[:3000])
    check_refused(tmp_path / "c.zip", "damaged zip .File is not a zip file", temporary)
    content[2000] ^= 255
    (tmp_path / "c.zip").write_bytes(content)
    check_refused(tmp_path / "c.zip", "damaged zip", temporary)
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "c.zip").write_bytes(content)
    check_refused(tmp_path / "c.zip", "'a' is encrypted", temporary)
    check_refused(tmp_path / "absent.zip", "No such file or directory", temporary)


def test_what_goes_wrong_in_the_block_is_not_the_zip_s_fault(tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), unzipped(pack(tmp_path / "a.zip", {"a": b"x"})):
        raise RuntimeError("mine")
    assert not list(temporary.iterdir())
