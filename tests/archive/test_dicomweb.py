"""`chestseg dicomweb`: one look or many, until it is told to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chestseg.bundle import Bundle
from chestseg.cli import main
from tests.archive.conftest import film
from tests.orthanc import Orthanc
from tests.servers import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield


def arguments(url: str, bundle: Bundle) -> list[str]:
    return ["dicomweb", "--server", url, "--model", str(bundle.folder), "--device", "cpu"]


def test_one_look(archive: Orthanc, model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive.add(film(tmp_path).read_bytes())
    command = arguments(archive.url, model)
    assert main([*command, "--dry-run"]) == 0
    assert "series 2.25.1.1: 1 of 1 images to segment" in capsys.readouterr().out
    assert not archive.files("SEG") and not (tmp_path / "chestseg-dicomweb").exists()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["study 2.25.1 series 2.25.1.1: 1 stored", "1 stored, 0 refused, 0 failed"]
    assert len(archive.files("SEG")) == 1 and (tmp_path / "chestseg-dicomweb" / "journal.jsonl").is_file()
    assert main([*command, "--days", "3"]) == 0  # the study has no date
    assert capsys.readouterr().out == "0 stored, 0 refused, 0 failed\n"


def test_mistakes_are_one_line(model: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    for more, said in (
        ([], "can't be reached"),
        (["--date", "yesterday"], "--date yesterday: give YYYYMMDD"),
        (["--days", "0"], "--days 0"),
        (["--watch", "-1"], "--watch -1"),
    ):
        assert main([*arguments(url, model), *more]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("chestseg: error: ") and said in line


def test_watching_goes_on_when_the_archive_comes_back(archive: Orthanc, model: Bundle, tmp_path: Path) -> None:
    archive.add(film(tmp_path).read_bytes())
    program = "import sys; from chestseg.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *arguments(archive.url, model), "--watch", "0.1"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "platform")}
    archive.stop()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert "can't be reached" in watching.stdout.readline()
        archive.start()
        assert "study 2.25.1 series 2.25.1.1: 1 stored\n" in iter(watching.stdout.readline, "")
        watching.send_signal(signal.SIGTERM)
        left = watching.communicate()
    assert watching.returncode == 143 and left[1] == ""
    assert len(archive.files("SEG")) == 1
