"""The pages of both endpoints as people use them: headless Chromium against started apps, with generated chests.

CHESTSEG_PICTURES=docs/images takes the README's pictures anew, by the models that `make demo` and `make demo TRACK=ct` left in demo/.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from chestseg.config.serving import CxrServing
from chestseg.dicom.write import write_radiograph
from chestseg.dicom.write_series import write_series
from chestseg.nifti import write_nifti
from chestseg.phantoms.ct.make import make_ct_phantom
from chestseg.phantoms.radiograph.make import make_phantom
from chestseg.serving.page.routes import VIEWER
from chestseg.serving.radiographs import radiographs
from tests.conftest import ROOT
from tests.page.in_browser import DESKTOP, PHONE, browser
from tests.serving.ct_app import OTHER, WARD, CtApp, running, settings_for, tiny_ct
from tests.serving.served import ServePort, tiny_bundle

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'chestseg[dev]'")
pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.slow]

PATIENCE = 120_000
"""Milliseconds."""
LARGEST = 400_000
"""Bytes of a picture in the README."""
FIELD_MM = 358.4
"""Of view of the radiograph."""


def model_of(track: str, tiny: Callable[[], str]) -> str:
    """A tiny model; where pictures are taken, the demo's, which has learnt something."""
    found = sorted((ROOT / "demo" / "runs").glob(f"{track}-demo-*/bundle")) if "CHESTSEG_PICTURES" in os.environ else []
    return str(found[0]) if found else tiny()


@pytest.fixture(scope="module")
def cxr(serve_port: ServePort, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app that asks for no token."""
    model = model_of("cxr", lambda: str(tiny_bundle(tmp_path_factory.mktemp("model") / "bundle").folder))
    settings = CxrServing.model_validate({"model": model, "compute.device": "cpu"})
    with serve_port.running(radiographs(settings), "page-cxr") as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(scope="module")
def ct(serve_port: ServePort, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CtApp]:
    model = model_of("ct", lambda: str(tiny_ct(tmp_path_factory.mktemp("model") / "bundle").folder))
    with running(serve_port, settings_for(model, tmp_path_factory.mktemp("ct")), "page-ct") as app:
        yield app


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM and a PNG of one chest; a CT as NIfTI and as a series; what is neither."""
    folder = tmp_path_factory.mktemp("files")
    size = 1024 if "CHESTSEG_PICTURES" in os.environ else 256
    pixels, spacing = make_phantom(5, size)[0], (FIELD_MM / size,) * 2
    write_radiograph(
        folder / "cxr.dcm", pixels, patient_id="Secret^Name", spacing_mm=spacing, study_uid="2.25.1", series_uid="2.25.2", sop_uid="2.25.3"
    )
    cv2.imwrite(str(folder / "cxr.png"), pixels)
    volume = make_ct_phantom(7, (24, 80, 80), (10.0, 4.0, 4.0)).volume
    write_nifti(folder / "ct.nii.gz", volume)
    write_series(folder / "series", volume, patient_id="Secret^Name", study_uid="2.25.4", series_uid="2.25.5", series_number=1)
    if "CHESTSEG_PICTURES" in os.environ:
        write_nifti(folder / "ct.nii.gz", make_ct_phantom(7, (64, 256, 256), (4.0, 1.3, 1.3)).volume)
    (folder / "note.txt").write_text("hello")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return Path(os.environ.get("CHESTSEG_PICTURES", tmp_path))


@pytest.fixture
def viewer() -> None:
    """Where NiiVue was not fetched, tests that scroll are skipped, but not in CI."""
    if not (ROOT / "platform/chestseg/serving/page/static" / VIEWER).is_file():
        if os.environ.get("CI"):
            pytest.fail("no viewer of volumes: make test fetches it")
        pytest.skip("no viewer of volumes: make web")


class Seen:
    """Pages that ask their own app and nobody else, and whose scripts don't fail."""

    def __init__(self, chromium: Any, url: str) -> None:
        self.chromium, self.url, self.asked, self.failed = chromium, url, set[str](), list[str]()

    def open(self, width: int = DESKTOP, scheme: str = "light", before: Callable[[Any], object] = lambda page: None) -> Any:
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
        beyond = [url for url in self.asked if not url.startswith((self.url, "data:", "blob:"))]
        assert not beyond and not self.failed


@pytest.fixture
def look() -> Iterator[Callable[[str], Seen]]:
    seen = []
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


def pixels_of(page: Any) -> np.ndarray:
    """The radiograph's canvas, RGB (H, W, 3)."""
    page.wait_for_timeout(200)  # a frame
    read = "c => [c.width, c.height, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
    width, height, data = page.locator("#canvas").evaluate(read)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def shot_of(page: Any) -> np.ndarray:
    """The canvas as it is on the screen; WebGL's can't be read afterwards."""
    page.wait_for_timeout(500)
    picture = cv2.imdecode(np.frombuffer(page.locator("#canvas").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def orange(picture: np.ndarray) -> int:
    """Pixels of a BGR picture with the mask's colour over them."""
    return int((picture[..., 2].astype(int) - picture[..., 0] > 40).sum())


def saved(page: Any, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_bytes()


def take(page: Any, path: Path) -> None:
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    assert 10_000 < path.stat().st_size < LARGEST


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
    grey = cv2.imread(str(files / "cxr.png"), cv2.IMREAD_GRAYSCALE)
    assert (bare == np.asarray(grey)[..., None]).all()
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
        if "CHESTSEG_PICTURES" not in os.environ:
            page.screenshot(path=pictures / f"{width}-{scheme}.png", full_page=True)
        page.close()
    assert len(papers) == 2


def test_a_token_is_asked_for_and_kept_in_the_tab_alone(ct: CtApp, look: Callable[[str], Seen], files: Path) -> None:
    page = look(str(ct.client.base_url)).open()
    page.get_by_text("This service asks for an access token.").wait_for()
    send(page, files / "ct.nii.gz")
    assert "Authorization: Bearer" in page.inner_text("[role=alert]")
    page.get_by_label("Token", exact=True).fill("nobody-has-this-token")
    page.keyboard.press("Enter")
    page.get_by_text("This token is not valid here").wait_for()
    page.get_by_label("Token", exact=True).fill(WARD)
    page.keyboard.press("Enter")
    page.get_by_text("bundle ").wait_for()
    kept = page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie, location.href]")
    assert WARD in kept[0] and kept[1] == "{}" and kept[2] == "" and WARD not in kept[3] + page.content()
    page.reload()
    page.get_by_text("bundle ").wait_for()
    page.get_by_text("Access token").click()
    page.get_by_role("button", name="Forget it").click()
    page.get_by_text("This service asks for an access token.").wait_for()
    assert page.evaluate("sessionStorage.length") == 0


def opened(seen: Seen, token: str = WARD, **options: Any) -> Any:
    """The page of volumes with a token."""
    page = seen.open(**options)
    page.get_by_label("Token", exact=True).fill(token)
    page.keyboard.press("Enter")
    page.get_by_text("bundle ").wait_for()
    return page


@pytest.mark.usefixtures("viewer")
def test_slices_of_a_volume_are_scrolled(ct: CtApp, files: Path, look: Callable[[str], Seen], pictures: Path) -> None:
    page = opened(look(str(ct.client.base_url)))
    send(page, files / "ct.nii.gz")
    assert page.inner_text("#finding") == "Infiltrates found" and " ml" in page.inner_text("#numbers")
    slice_ = page.get_by_role("slider", name="Slice")
    start, first = slice_.input_value(), shot_of(page)
    take(page, pictures / "serve-ct.png")
    assert orange(first) > 100
    slide(page, "Slice", "ArrowRight", 3)
    assert int(slice_.input_value()) == int(start) + 3 and (shot_of(page) != first).any()
    assert slice_.get_attribute("aria-valuetext").startswith(f"{int(start) + 4} of ")
    page.locator("#canvas").focus()
    page.keyboard.press("Home")
    assert slice_.input_value() == "0"
    page.locator("#canvas").hover()
    page.mouse.wheel(0, 100)
    playwright.expect(slice_).not_to_have_value("0")
    page.get_by_role("button", name="Go to the fullest slice").click()
    assert slice_.input_value() == start
    slide(page, "Mask opacity", "Home")
    assert orange(shot_of(page)) == 0
    bare = shot_of(page)
    page.get_by_label("Window").select_option("Soft tissue")
    assert (shot_of(page) != bare).any() and page.get_by_label("Level").input_value() == "40"
    page.get_by_label("View").select_option("Sagittal")
    assert slice_.get_attribute("max") != str(23) or (shot_of(page) != bare).any()
    job = page.evaluate("location.hash.slice(1)")
    assert saved(page, "Mask (NIfTI)") == ct.ask(f"/v1/jobs/{job}/result?format=nifti").content
    page.get_by_role("button", name="Delete from the service").click()
    page.get_by_text("The result was deleted").wait_for()
    assert ct.ask(f"/v1/jobs/{job}").status_code == 404


@pytest.mark.usefixtures("viewer")
def test_a_series_is_shown_as_the_service_read_it_also_after_a_reload(ct: CtApp, files: Path, look: Callable[[str], Seen]) -> None:
    page = opened(look(str(ct.client.base_url)), OTHER, width=PHONE, scheme="dark")
    send(page, *sorted((files / "series").iterdir()))
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    first = shot_of(page)
    assert first.std() > 20 and page.get_by_role("button", name="DICOM SEG").is_visible()
    page.reload()
    page.locator("#result").wait_for()
    page.locator("#work").wait_for(state="hidden")
    assert np.abs(shot_of(page).astype(int) - first).mean() < 2


def test_a_volume_that_is_none_and_one_that_can_not_be_shown(ct: CtApp, files: Path, look: Callable[[str], Seen]) -> None:
    def unfetched(page: Any) -> None:
        def answer(route: Any) -> None:
            whole = route.fetch()
            route.fulfill(response=whole, body=re.sub('data-viewer="[^"]*"', 'data-viewer=""', whole.text()))

        page.route(re.compile(r"/page-ct/$"), answer)

    page = opened(look(str(ct.client.base_url)), before=unfetched)
    send(page, files / "note.txt")
    assert "not a NIfTI" in page.inner_text("[role=alert]")
    send(page, files / "ct.nii.gz")
    assert "make web" in page.inner_text("#viewer-note")
    assert page.locator("#slices").evaluate("i => i.complete && i.naturalWidth > 0")
