"""Bytes, names and one-line errors."""

import io

import pytest

from chestseg.dicom.source import Refused, naming, read_source


def test_a_name_is_given_or_found(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"x")
    with open(path, "rb") as file:
        assert read_source(file) == (b"x", str(path))
    assert read_source(path) == (b"x", str(path))
    assert read_source(b"x") == (b"x", "image")
    assert read_source(io.BytesIO(b"x"), name="upload 3") == (b"x", "upload 3")


@pytest.mark.parametrize("empty", [b"", io.BytesIO()])
def test_an_empty_file_is_refused(empty, tmp_path):
    with pytest.raises(ValueError, match="^image: the file is empty"):
        read_source(empty)
    (tmp_path / "empty.dcm").touch()
    with pytest.raises(ValueError, match=r"empty\.dcm: the file is empty \(0 bytes\): copy it again"):
        read_source(tmp_path / "empty.dcm")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="missing.dcm: No such file or directory: check"):
        read_source(tmp_path / "missing.dcm")
    with pytest.raises(ValueError, match="Is a directory: check"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Refused("two\nlines: remedy"), "a.dcm: two lines: remedy"),
        (KeyError(), "a.dcm: damaged image (KeyError): export or copy it again"),
        (OSError("broken\n stream"), "a.dcm: damaged image (broken stream): export or copy it again"),
    ],
)
def test_every_finding_becomes_one_line_that_begins_with_the_name(error, line):
    with pytest.raises(ValueError) as found, naming("a.dcm"):
        raise error
    assert str(found.value) == line


def test_an_interruption_is_no_damage():
    with pytest.raises(KeyboardInterrupt), naming("a.dcm"):
        raise KeyboardInterrupt
