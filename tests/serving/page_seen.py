"""What the tests of both pages share: generated chests as files, a browser that notes what was asked, and what people do on a page.

CHESTSEG_PICTURES=docs/images takes the README's pictures anew, by the models that `make demo` and `make demo TRACK=ct` left in demo/.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2

from chestseg.dicom.write import write_radiograph
from chestseg.dicom.write_series import write_series
from chestseg.nifti import write_nifti
from chestseg.phantoms.ct.make import make_ct_phantom
from chestseg.phantoms.radiograph.make import make_phantom
from tests.conftest import ROOT
from tests.page.in_browser import DESKTOP, browser

PATIENCE = 120_000
"""Milliseconds."""
LARGEST = 500_000
"""Bytes of a picture in the README."""
FIELD_MM = 358.4
"""Of view of the radiograph."""
SEED = 14
"""Of a CT with infiltrates in the middle of the lungs."""
PICTURES = os.environ.get("CHESTSEG_PICTURES")


def model_of(track: str, tiny: Callable[[], str]) -> str:
    """A tiny model; where pictures are taken, the demo's, which has learnt something."""
    found = sorted((ROOT / "demo" / "runs").glob(f"{track}-demo-*/bundle")) if PICTURES else []
    return str(found[0]) if found else tiny()


def write_chests(folder: Path) -> Path:
    """A DICOM and a PNG of one chest; a CT as NIfTI and as a series; what is neither. Larger ones for pictures."""
    size = 1024 if PICTURES else 256
    pixels, spacing = make_phantom(5, size)[0], (FIELD_MM / size,) * 2
    write_radiograph(
        folder / "cxr.dcm", pixels, patient_id="Secret^Name", spacing_mm=spacing, study_uid="2.25.1", series_uid="2.25.2", sop_uid="2.25.3"
    )
    cv2.imwrite(str(folder / "cxr.png"), pixels)
    volume = make_ct_phantom(SEED, (24, 80, 80), (10.0, 4.0, 4.0)).volume
    write_nifti(folder / "ct.nii.gz", volume)
    write_series(folder / "series", volume, patient_id="Secret^Name", study_uid="2.25.4", series_uid="2.25.5", series_number=1)
    if PICTURES:
        write_nifti(folder / "ct.nii.gz", make_ct_phantom(SEED, (60, 256, 256), (4.0, 1.3, 1.3)).volume)
    (folder / "note.txt").write_text("hello")
    return folder


class Seen:
    """Pages that ask their own app and nobody else, and whose scripts don't fail."""

    def __init__(self, chromium: Any, url: str) -> None:
        self.chromium, self.url, self.asked, self.failed = chromium, url, set[str](), list[str]()

    def open(self, width: int = DESKTOP, scheme: str = "light", before: Callable[[Any], object] = lambda page: None) -> Any:
        """The page, once its scripts run; `before` is called before it is asked for."""
        page = self.chromium.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme, accept_downloads=True)
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.asked.add(request.url))
        page.on("pageerror", lambda error: self.failed.append(str(error)))
        page.on("console", lambda message: self.failed.append(message.text) if "Content Security" in message.text else None)
        before(page)
        page.goto(f"{self.url}/")
        page.get_by_text("not asked yet").wait_for(state="hidden")  # its scripts run
        return page

    def check(self) -> None:
        """Nobody else was asked, nothing failed and the policy forbade nothing."""
        beyond = [url for url in self.asked if not url.startswith((self.url, "data:", "blob:"))]
        assert not beyond and not self.failed


@contextlib.contextmanager
def looking() -> Iterator[Callable[[str], Seen]]:
    """Makes `Seen` of addresses, and checks them all in the end."""
    seen: list[Seen] = []
    with browser() as chromium:

        def at(url: str) -> Seen:
            seen.append(Seen(chromium, url.rstrip("/")))
            return seen[-1]

        yield at
        for one in seen:
            one.check()


def send(page: Any, *paths: Path) -> None:
    """Choose files and wait for what comes of them."""
    page.set_input_files("#file", [str(path) for path in paths])
    page.locator("#work").wait_for(state="hidden")


def slide(page: Any, name: str, key: str, times: int = 1) -> None:
    """Move a slider by the keyboard."""
    page.get_by_role("slider", name=name).focus()
    for _ in range(times):
        page.keyboard.press(key)


def take(page: Any, path: Path) -> None:
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    assert 10_000 < path.stat().st_size < LARGEST


def saved(page: Any, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_bytes()
