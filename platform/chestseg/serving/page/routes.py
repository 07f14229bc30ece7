"""The page's routes: the page itself at `/`, and its files below `/static/`, cached for ever under a name that changes with them."""

import hashlib
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from chestseg.serving.front import STATIC

VIEWER = "vendor/niivue.js"
"""Of volumes; fetched by `chestseg.serving.page.viewer`."""
HEADERS = {
    # All that the page does, it does with its own files and its own endpoint. NiiVue keeps its fonts as data: addresses.
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "connect-src 'self' blob: data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked again each time, so that a new release's files are found at once.
    "Cache-Control": "no-cache",
}
FOR_EVER = "public, max-age=31536000, immutable"


class Words(NamedTuple):
    """What differs between the two pages beyond the sections that are shown."""

    title: str
    looks_for: str
    files: str
    """Which can be sent."""


WORDS: dict[str, Words] = {
    "cxr": Words("Pneumothorax on chest radiographs", "pneumothorax", "One DICOM, PNG or JPEG file"),
    "ct": Words("COVID-19 infiltrates on chest CT", "infiltrates", "A NIfTI file, a zip of a DICOM series, or all files of one series"),
}


def add_page(app: FastAPI, track: Literal["cxr", "ct"]) -> None:
    """Mount the page of one endpoint."""
    with as_file(files("chestseg.serving.page")) as folder:
        static, template = folder / "static", Template((folder / "page.html").read_text(encoding="utf-8"))
    at = f"{STATIC}{digest_of(static)}"
    viewer = VIEWER if (static / VIEWER).is_file() else ""
    # Relative, so that the page works wherever a proxy puts it.
    page = template.substitute(WORDS[track]._asdict(), track=track, static=at.removeprefix("/"), viewer=viewer)
    app.mount(at, Unchanging(directory=static))

    @app.get("/", include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers=HEADERS)


class Unchanging(StaticFiles):
    """Files whose address names their content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As Starlette does, for browsers to keep."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = FOR_EVER
        answer.headers["Content-Security-Policy"] = HEADERS["Content-Security-Policy"]
        return answer


def digest_of(folder: Path) -> str:
    """Sixteen digits that change with any name or byte below `folder`."""
    hashed = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        hashed.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]
