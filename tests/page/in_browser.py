"""A page as headless Chromium lays it out: what it asked for, whether it is too wide, whether its pictures are there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESKTOP = 390, 1280
MEASURE = """() => ({
  width: document.documentElement.scrollWidth,
  images: [...document.images].map(i => i.complete && i.naturalWidth > 0),
  ink: getComputedStyle(document.body).color,
  paper: getComputedStyle(document.body).backgroundColor,
})"""


@dataclass(frozen=True)
class Look:
    """What a browser saw."""

    width: int
    """Pixels the page takes from left to right."""
    images: list[bool]
    """Of each picture, whether it was loaded."""
    requests: list[str]
    """Addresses asked for beyond the page itself; data inside it does not count."""
    complaints: list[str]
    """What the console printed."""
    ink: str
    paper: str


@contextmanager
def browser() -> Iterator:
    """Debian's Chromium, driven by Playwright; the test is skipped where one of them is absent."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: on Debian, apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'chestseg[dev]'")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        try:
            yield chromium
        finally:
            chromium.close()


def look_at(chromium, file: Path, width: int, scheme: Literal["light", "dark"] = "light", screenshot: Path | None = None) -> Look:
    """Open a local file in a window of `width` pixels; `screenshot` takes the whole page."""
    page = chromium.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri(), wait_until="load")
    seen = page.evaluate(MEASURE)
    if screenshot:
        page.screenshot(path=screenshot, full_page=True)
    page.close()
    asked = [address for address in requests if address != file.as_uri() and not address.startswith("data:")]
    return Look(seen["width"], seen["images"], asked, complaints, seen["ink"], seen["paper"])
