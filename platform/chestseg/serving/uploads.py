"""What comes in and what is wanted: a request's file, raw or of a form, and the format of the answer."""

from collections.abc import Mapping
from typing import TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile

from chestseg.serving.front import Refusal

FIELD = "file"
Format = TypeVar("Format", bound=str)


async def whole_upload(request: Request) -> bytes:
    """The file: the body itself, or the field `file` of multipart/form-data. Names that come with it are not looked at.

    Raises:
        Refusal: an empty body, or a form without exactly one such file.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return _full(await request.body())
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise Refusal(400, f"the form has no file called {FIELD!r}: send one, or the file itself as the body")
        return _full(await file.read())


def wanted_format(accept: str | None, media: Mapping[Format, str]) -> Format:
    """The format that the header Accept likes best; where it likes two alike, the first of `media`.

    Args:
        accept: the header (RFC 9110 section 12.5.1); nothing means anything.
        media: media type of each format.

    Raises:
        Refusal: it takes none of them (406).
    """
    likes = [_like(part) for part in (accept or "*/*").split(",") if part.strip()]
    best, found = 0.0, None
    for name, kind in media.items():
        ranges = {kind: 2, f"{kind.partition('/')[0]}/*": 1, "*/*": 0}
        # The most specific range counts for a type, whatever the others say.
        weights = [(ranges[range_], weight) for range_, weight in likes if range_ in ranges]
        weight = max(weights)[1] if weights else 0.0
        if weight > best:
            best, found = weight, name
    if found is None:
        raise Refusal(406, f"answers are {', '.join(dict.fromkeys(media.values()))}: ask for one of them in Accept")
    return found


def _like(part: str) -> tuple[str, float]:
    """A media range and its weight."""
    range_, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return range_, float(weight)
    except ValueError:
        return range_, 0.0


def _full(data: bytes) -> bytes:
    if not data:
        raise Refusal(400, "the body is empty: send a DICOM, PNG or JPEG file")
    return data
