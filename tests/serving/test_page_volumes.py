"""The page of volumes as people use it: headless Chromium against a started app, with a generated chest CT."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from chestseg.serving.page.routes import VIEWER
from tests.conftest import ROOT
from tests.page.in_browser import PHONE
from tests.serving.ct_app import OTHER, WARD, CtApp, running, settings_for, tiny_ct
from tests.serving.page_seen import PATIENCE, PICTURES, Seen, looking, model_of, saved, send, slide, take, write_chests
from tests.serving.served import ServePort

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'chestseg[dev]'")
pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def ct(serve_port: ServePort, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CtApp]:
    model = model_of("ct", lambda: str(tiny_ct(tmp_path_factory.mktemp("model") / "bundle").folder))
    with running(serve_port, settings_for(model, tmp_path_factory.mktemp("ct")), "page-ct") as app:
        yield app


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


@pytest.fixture
def viewer() -> None:
    """Where NiiVue was not fetched, tests that scroll are skipped, but not in CI."""
    if not (ROOT / "platform/chestseg/serving/page/static" / VIEWER).is_file():
        if os.environ.get("CI"):
            pytest.fail("no viewer of volumes: make test fetches it")
        pytest.skip("no viewer of volumes: make web")


def shot_of(page: Any) -> np.ndarray:
    """The canvas as it is on the screen; WebGL's can't be read afterwards."""
    page.wait_for_timeout(500)
    picture = cv2.imdecode(np.frombuffer(page.locator("#canvas").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def orange(picture: np.ndarray) -> int:
    """Pixels of a BGR picture with the mask's colour over them."""
    return int((picture[..., 2].astype(int) - picture[..., 0] > 40).sum())


def opened(seen: Seen, token: str = WARD, **options: Any) -> Any:
    """The page of volumes with a token."""
    page = seen.open(**options)
    page.get_by_label("Token", exact=True).fill(token)
    page.keyboard.press("Enter")
    page.get_by_text("bundle ").wait_for()
    return page


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
    page.keyboard.press("PageUp")
    assert slice_.input_value() == "10"
    page.locator("#canvas").hover()
    page.mouse.wheel(0, 100)
    playwright.expect(slice_).not_to_have_value("10", timeout=PATIENCE)
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
    page.get_by_role("status").get_by_text("The result was deleted").wait_for()
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
