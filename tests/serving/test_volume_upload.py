"""Bodies become numbered files, whatever their senders call them and however the chunks fall."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chestseg.serving.volume_upload import receive
from tests.serving.volumes_sent import form

FILES = [("../../etc/passwd", b"first" * 50), ("/root/Smith^Jane.dcm", b"\r\n--not the end\r\n"), ("", b"third"), ("a.dcm", b"")]


def received(body: bytes, content_type: str, folder: Path, step: int = 1000, most: int = 10) -> list[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    folder.mkdir()
    paths = asyncio.run(receive(chunks(), content_type, folder, most))
    assert sorted(folder.iterdir()) == paths and [path.name for path in paths] == [f"{n:05}" for n in range(len(paths))]
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_files_of_a_form(tmp_path: Path, step: int) -> None:
    body, kind = form(FILES)
    assert received(body, kind, tmp_path / "a", step) == [content for _, content in FILES]


def test_a_field_that_is_no_file_is_passed_over(tmp_path: Path) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nfor Jane\r\n'
    body += b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\nContent-Type: application/dicom\r\n\r\nABC\r\n--x--\r\n'
    assert received(body, "Multipart/Form-Data; boundary=x", tmp_path / "a") == [b"ABC"]


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "application/zip", "multipart/mixed; boundary=x"])
def test_a_body_is_one_file(tmp_path: Path, kind: str) -> None:
    assert received(b"x" * 5000, kind, tmp_path / "a", 333) == [b"x" * 5000]


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", "", "no file"),
        (*form([]), "no file|damaged|ends early"),
        (form(FILES)[0][:-10], form(FILES)[1], "ends early"),
        (form(FILES)[0], "multipart/form-data", "without a boundary"),
        (b"no form at all", "multipart/form-data; boundary=x", "damaged"),
        (b"", "multipart/form-data; boundary=x", "ends early"),
    ],
)
def test_what_is_no_upload_is_refused(tmp_path: Path, body: bytes, kind: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^upload: .*({said})"):
        received(body, kind, tmp_path / "a")


def test_files_are_counted_while_they_come(tmp_path: Path) -> None:
    body, kind = form(FILES)
    with pytest.raises(ValueError, match="more than 3 files"):
        received(body, kind, tmp_path / "a", most=3)
    assert len(list((tmp_path / "a").iterdir())) == 3
