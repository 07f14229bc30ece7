"""The short drill as a user runs it: a worker and the driver killed, and nothing lost."""

import pytest

from chestseg.cli import main

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_short_drill_loses_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["drill", "--short"])
    told = capfd.readouterr()
    assert code == 0, told.out + told.err
    kinds = {line.split()[0] for line in told.out.splitlines() if line.startswith(("worker", "driver"))}
    assert kinds == {"worker", "driver"} and "final weights equal bit for bit: yes" in told.out


def test_a_drill_leaves_other_clusters_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert main(["drill"]) == 2
    assert "unset it" in capfd.readouterr().err
