"""The report tells what the records tell, for whatever sweep, and reads well in a browser."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from chestseg.tuning.report import write_report
from chestseg.tuning.result import Outcome, schedule
from tests.page.in_browser import DESKTOP, PHONE, browser, look_at
from tests.tuning.outcomes import conduct


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return conduct(tmp_path_factory.mktemp("sweep"), finished=False, trials=16)


@pytest.fixture(scope="module")
def html(outcome: Outcome, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(outcome, tmp_path_factory.mktemp("report"))


def report(outcome: Outcome, folder: Path) -> str:
    write_report(outcome, folder)
    return (folder / "report.html").read_text()


def test_it_names_the_best_its_command_and_its_doubt(outcome: Outcome, html: str):
    assert f"Trial {outcome.best.number} ({schedule(outcome.experiments[outcome.best.number])}) is the best of 16" in html
    assert re.search(r"python jobs/train.py \S+/best.yaml", html)
    assert "on the very cases that chose" in html
    assert outcome.sweep.digest in html


def test_every_trial_every_rung_and_every_failure_is_there(outcome: Outcome, html: str):
    for record in outcome.records:
        if record.state == "complete":
            assert f"{record.values[0]:.4f}" in html
    met = [r for record in outcome.records for r in record.reports if r.rung == 0]
    assert f'<td class="number">{len(met)}</td><td class="number">{sum(r.goes_on for r in met)}</td>' in html
    assert "loss is nan: lower the learning rate" in html
    assert "PED-ANOVA" in html
    assert "8.0%" in html, "windows tell their share of the compute"


def test_two_objectives_without_stops(tmp_path: Path):
    outcome = conduct(tmp_path / "sweep", second="latency", pruner=None, trials=12, windows=None)
    html = report(outcome, tmp_path)
    assert "No trial is stopped early in this sweep." in html
    assert all(f"pareto-{record.number:04d}.yaml" in html for record in outcome.front)
    assert "Windows of weight averaging" not in html


def test_few_trials_none_and_none_that_finished(outcome: Outcome, tmp_path: Path):
    assert "Importance is not given for fewer than 10 trials" in report(replace(outcome, records=outcome.records[:3]), tmp_path)
    assert "No trial finished (none was started)" in report(replace(outcome, records=[]), tmp_path)
    failed = [record for record in outcome.records if record.state == "failed"]
    assert "No trial finished (1 failed)" in report(replace(outcome, records=failed), tmp_path)


@pytest.mark.browser
def test_in_a_browser(html: str, tmp_path: Path):
    (tmp_path / "report.html").write_text(html)
    with browser() as chromium:
        for width in (PHONE, DESKTOP):
            look = look_at(chromium, tmp_path / "report.html", width)
            assert look.width <= width
            assert len(look.images) == 6
            assert all(look.images)
            assert not look.requests
            assert not look.complaints
