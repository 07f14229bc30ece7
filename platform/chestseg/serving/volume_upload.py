"""What callers send, to numbered files: a body as it is, or the files of a multipart form, each chunk written as it comes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

FORM = "multipart/form-data"


async def receive(chunks: AsyncIterator[bytes], content_type: str, folder: Path, most_files: int) -> list[Path]:
    """Write a request's body to `folder`: 00000, 00001 and so on, whatever the sender calls its files.

    Parts of a form that are no files are passed over. The body's length is limited by who gives the chunks.

    Args:
        chunks: of the body, as they come.
        content_type: the request's header; a form's files are taken apart, anything else is one file.
        folder: empty.
        most_files: of a form.

    Raises:
        ValueError: no bytes, a form that is damaged or without files, or too many of them.
    """
    kind, options = parse_options_header(content_type)
    sink = _Form(folder, options.get(b"boundary", b""), most_files) if kind.lower() == FORM.encode() else _Body(folder)
    try:
        async for chunk in chunks:
            sink.write(chunk)
        sink.end()
    except FormParserError as error:
        raise ValueError(f"upload: damaged {FORM} ({' '.join(str(error).split())[:100]}): send it with an HTTP library") from None
    finally:
        sink.close()
    return sink.paths


class _Body:
    """One file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: list[Path] = []
        self.file: BinaryIO | None = None

    def write(self, chunk: bytes) -> None:
        if self.file is None and chunk:
            self.next_file()
        if self.file is not None:
            self.file.write(chunk)

    def next_file(self) -> None:
        self.paths.append(self.folder / f"{len(self.paths):05}")
        self.file = open(self.paths[-1], "wb")  # noqa: SIM115, closed when the next begins

    def end(self) -> None:
        if not self.paths:
            raise ValueError("upload: it holds no file: send a NIfTI file, a zip of a DICOM series, or the series' files as a form")

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


class _Form(_Body):
    """Files of a form (RFC 7578)."""

    def __init__(self, folder: Path, boundary: bytes, most_files: int) -> None:
        super().__init__(folder)
        if not boundary:
            raise ValueError(f"upload: {FORM} without a boundary: send it with an HTTP library")
        self.most_files, self.ended = most_files, False
        self.name = self.value = b""
        self.parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_part_data": self._on_data,
                "on_part_end": self.close,
                "on_end": self._on_end,
            },
        )

    def write(self, chunk: bytes) -> None:
        self.parser.write(chunk)

    def end(self) -> None:
        if not self.ended:
            raise ValueError(f"upload: the {FORM} ends early: send it again")
        super().end()

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _on_header(self) -> None:
        """What has a file's name is a file; the name itself is not used."""
        if self.name.lower() == b"content-disposition" and b"filename" in parse_options_header(self.value)[1]:
            if len(self.paths) >= self.most_files:
                raise ValueError(f"upload: more than {self.most_files} files: send the files of one series")
            self.next_file()
        self.name = self.value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self.file is not None:
            self.file.write(data[start:end])

    def _on_end(self) -> None:
        self.ended = True
