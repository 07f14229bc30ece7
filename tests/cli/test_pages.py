"""The dashboards of a sweep as a browser shows them: names and states stand there, and the README's pictures are taken.

CHESTSEG_PICTURES=docs/images takes the pictures anew; else they go to the test's own folder.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chestseg.tuning.result import Outcome
from tests.cli.shown_sweep import TRIALS, name_of, show
from tests.cli.shown_trials import ENDED
from tests.cli.test_dashboards import Served, served
from tests.conftest import ROOT, TOKEN_FILE, Cluster
from tests.page.in_browser import browser

LARGEST = 200_000
"""Bytes of a picture in the README."""
STATES = {"complete": "Complete", "pruned": "Pruned", "failed": "Fail", "running": "Running"}
"""As Optuna's dashboard writes them."""
WINDOW = {"width": 1280, "height": 720}
PATIENCE = 60_000
"""Milliseconds."""

pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    return show(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def dashboards(shown: tuple[Path, Outcome], cluster: Cluster) -> Iterator[Served]:
    with served(shown[0], cluster.env | {"RAY_ADDRESS": cluster.dashboard_url}) as running:
        yield running


@pytest.fixture
def page() -> Iterator[Any]:
    with browser() as chromium:
        page = chromium.new_page(viewport=WINDOW)
        page.set_default_timeout(PATIENCE)
        yield page


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return Path(os.environ.get("CHESTSEG_PICTURES", tmp_path))


def take(page: Any, path: Path) -> None:
    """A picture that is there and small enough for the README."""
    page.wait_for_timeout(1000)  # for what slides and fades
    page.screenshot(path=path)
    assert 10_000 < path.stat().st_size < LARGEST


def test_mlflow_shows_sweep_trials_and_stages(page: Any, dashboards: Served, shown: tuple[Path, Outcome], pictures: Path) -> None:
    outcome = shown[1]
    names = {record.number: name_of(outcome, record) for record in outcome.records}
    page.goto(dashboards.urls["MLflow"])
    page.get_by_role("button", name="Close").click()  # an assistant that nobody called
    choose_columns(page, off=("Dataset", "Source", "Models"), on={"objective_": "Metrics", "trial_state": "Tags"})
    page.get_by_role("columnheader", name="Created").first.click()  # the first trial first
    expand(page, outcome.sweep.name)
    expand(page, names[2])
    row_of(page, "0002.1: ").wait_for()
    for record in outcome.records[:8]:
        place = row_of(page, names[record.number]).get_attribute("row-index")  # its columns are in another element of that place
        state = page.locator(f"[row-index='{place}']").get_by_text(record.state, exact=True)
        state.wait_for()
        assert state.is_visible()
    take(page, pictures / "mlflow.png")


def choose_columns(page: Any, off: tuple[str, ...], on: dict[str, str]) -> None:
    """Switch columns off by name, and on by a name and the group it is alone in."""
    page.get_by_role("button", name="Columns").click()
    asked = page.get_by_placeholder("Search columns")
    for name in off:
        asked.fill(name)
        page.locator("strong", has_text=name).first.click()
    for name, group in on.items():
        asked.fill(name)
        page.get_by_text(f"{group} (1)").click()
    page.keyboard.press("Escape")


def row_of(page: Any, name: str) -> Any:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name))


def expand(page: Any, name: str) -> None:
    row_of(page, name).get_by_role("button").first.click()


def test_optuna_shows_every_trial_with_its_state_and_what_it_reported(
    page: Any, dashboards: Served, shown: tuple[Path, Outcome], pictures: Path
) -> None:
    outcome = shown[1]
    page.goto(f"{dashboards.urls['Optuna']}studies/1/trials")
    page.get_by_text(f"{TRIALS} Trials").wait_for()
    listed = [line for line in page.inner_text("body").splitlines() if line.strip()]
    for record in outcome.records:
        assert listed[listed.index(f"Trial {record.number}") + 1] == STATES[record.state]
    pruned = next(record for record in outcome.records if record.state == "pruned")
    page.get_by_text(f"Trial {pruned.number}", exact=True).click()
    page.get_by_text(f"name {name_of(outcome, pruned)}").wait_for()
    for report in pruned.reports:
        page.get_by_text(f"{report.step} {report.value}").wait_for()
    take(page, pictures / "optuna.png")


def test_ray_shows_trials_by_name(page: Any, cluster: Cluster, dashboards: Served, shown: tuple[Path, Outcome], pictures: Path) -> None:
    names = [name_of(shown[1], record) for record in shown[1].records[:6]]
    command = [sys.executable, "-m", "tests.cli.shown_trials", *names]
    trials = subprocess.Popen(command, env=cluster.env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert trials.stdout
        assert any(ENDED in line for line in trials.stdout)
        page.goto(f"{dashboards.urls['Ray']}/#/jobs")
        page.get_by_placeholder("Enter your authentication token").fill(TOKEN_FILE.read_text())
        page.get_by_role("button", name="Submit").click()
        job = page.get_by_role("row").filter(has_text="shown_trials")
        job.get_by_role("link").first.click()
        page.get_by_text("Task Table").click()
        page.get_by_role("combobox", name="Function or Class Name").fill("ImplicitFunc.execute")
        page.get_by_role("option", name="ImplicitFunc.execute").click()
        for name in names:
            page.get_by_text(name, exact=True).first.wait_for()
        page.get_by_text("Task Table").evaluate("heading => heading.scrollIntoView()")
        page.mouse.wheel(0, -120)  # from below the page's header
        page.mouse.move(0, 0)
        take(page, pictures / "ray.png")
    finally:
        trials.communicate()
