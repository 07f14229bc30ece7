"""The page of radiographs as people use it: headless Chromium against a started app, with a generated chest."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from chestseg.config.serving import CxrServing
from chestseg.dicom.radiograph import read_radiograph
from chestseg.serving.radiographs import radiographs
from tests.page.in_browser import DESKTOP, PHONE
from tests.serving.page_seen import PICTURES, Seen, looking, model_of, saved, send, slide, take, write_chests
from tests.serving.served import ServePort, tiny_bundle

pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cxr(serve_port: ServePort, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app that asks for no token."""
    model = model_of("cxr", lambda: str(tiny_bundle(tmp_path_factory.mktemp("model") / "bundle").folder))
    settings = CxrServing.model_validate({"model": model, "compute.device": "cpu"})
    with serve_port.running(radiographs(settings), "page-cxr") as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chests(tmp_path_factory.mktemp("files"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return Path(PICTURES or tmp_path)


@pytest.fixture
def look() -> Iterator[Callable[[str], Seen]]:
    with looking() as at:
        yield at


def pixels_of(page: Any) -> np.ndarray:
    """The radiograph's canvas, RGB (H, W, 3)."""
    page.wait_for_timeout(200)  # a frame
    read = "c => [c.width, c.height, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
    width, height, data = page.locator("#canvas").evaluate(read)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def test_the_page_comes_with_a_policy_and_files_that_are_kept(cxr: str) -> None:
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        page = client.get(cxr)
        assert page.status_code == 200 and "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Cache-Control"] == "no-cache" and "Research use only" in page.text
        assert not re.findall(r"https?://|\bstyle=|\bon[a-z]+=", page.text)
        [script] = re.findall(r'<script type="module" src="([^"]+)"', page.text)
        answer = client.get(f"{cxr}/{script}")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/javascript")
        assert "immutable" in answer.headers["Cache-Control"] and answer.headers["X-Content-Type-Options"] == "nosniff"
        again = client.get(f"{cxr}/{script}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        for path in ("static/", f"{script}/../../page.html", "static/%2e%2e/routes.py", f"{script.rpartition('/')[0]}/%2e%2e/page.html"):
            assert client.get(f"{cxr}/{path}").status_code == 404


def test_a_radiographs_mask_lies_over_it(cxr: str, files: Path, look: Callable[[str], Seen], pictures: Path) -> None:
    page = look(cxr).open()
    page.get_by_text("Model: ").wait_for()
    send(page, files / "cxr.dcm")
    shown = pixels_of(page)
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.post(f"{cxr}/v1/segment", content=(files / "cxr.dcm").read_bytes()).json()
        mask = client.post(f"{cxr}/v1/segment?format=png", content=(files / "cxr.dcm").read_bytes()).content
    take(page, pictures / "serve-cxr.png")
    inside = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert inside is not None and answer["present"]
    assert (((shown[..., 0].astype(int) - shown[..., 2]) > 20) == (inside > 0)).all()
    assert page.inner_text("#finding") == "Pneumothorax found"
    assert f"{answer['area_cm2']} cm²" in page.inner_text("#numbers") and answer["model"]["digest"][:12] in page.inner_text("#numbers")
    slide(page, "Mask opacity", "Home")
    bare = pixels_of(page)
    assert (bare == read_radiograph(files / "cxr.dcm").pixels[..., None]).all()
    slide(page, "Level", "ArrowLeft", 40)
    assert pixels_of(page).mean() > bare.mean() + 10
    page.get_by_role("button", name="Reset").click()
    assert (pixels_of(page) == shown).all()
    assert saved(page, "Mask (PNG)") == mask
    assert saved(page, "DICOM SEG")[128:132] == b"DICM"
    assert b'"rle"' in saved(page, "Numbers (JSON)") and saved(page, "Overlay (PNG)").startswith(b"\x89PNG")


def test_what_is_wrong_is_said_in_words(cxr: str, files: Path, look: Callable[[str], Seen]) -> None:
    page = look(cxr).open()
    send(page, files / "note.txt")
    assert "neither DICOM nor PNG nor JPEG" in page.inner_text("[role=alert]")
    assert page.locator("#result").is_hidden() and page.locator("#viewer").is_hidden()
    send(page, files / "cxr.png")
    assert page.locator("[role=alert]").is_hidden() and page.locator("#result").is_visible()
    page.get_by_role("button", name="DICOM SEG").click()
    page.locator("[role=alert]").get_by_text("refers to a DICOM image").wait_for()


def test_files_are_dropped_and_chosen_by_the_keyboard(cxr: str, files: Path, look: Callable[[str], Seen]) -> None:
    page = look(cxr).open()
    data = page.evaluate_handle(
        """([bytes]) => { const all = new DataTransfer(); all.items.add(new File([new Uint8Array(bytes)], 'a')); return all; }""",
        [list((files / "cxr.png").read_bytes())],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.locator("#result").wait_for()
    page.locator("#work").wait_for(state="hidden")
    page.reload()
    page.get_by_text("not asked yet").wait_for(state="hidden")
    page.get_by_text("Access token").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    assert page.locator("#choose").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.evaluate("0")  # a key can overtake the order to catch the chooser, a script can't
        page.keyboard.press("Enter")
    chooser.value.set_files(str(files / "cxr.png"))
    page.locator("#result").wait_for()
    page.locator("#work").wait_for(state="hidden")


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_it_fits_phone_and_desktop_in_light_and_dark(
    cxr: str, files: Path, look: Callable[[str], Seen], pictures: Path, width: int
) -> None:
    papers = set()
    for scheme in ("light", "dark"):
        page = look(cxr).open(width, scheme)
        send(page, files / "cxr.png")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.locator("#canvas").bounding_box()["width"] <= width
        if not PICTURES:
            page.screenshot(path=pictures / f"{width}-{scheme}.png", full_page=True)
        page.close()
    assert len(papers) == 2
