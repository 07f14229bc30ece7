"""`chestseg series`: what is found about each series of a place, and what the two modes would make of it."""

import json
import shutil
from pathlib import Path

import pytest

from chestseg.cli import main
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, edit, phantom

OTHER = {**IDS, "series_uid": "1.2.3.5"}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write_series(tmp_path / "scan" / "whole", phantom(), **IDS)
    return tmp_path / "scan"


@pytest.fixture
def mixed(whole: Path) -> Path:
    """A whole series, a shorter one with a gap and a missing UID, a radiograph and a note."""
    write_series(whole / "gap", phantom(shape=(6, 10, 12)), **OTHER)
    sorted((whole / "gap").iterdir())[2].unlink()
    for path in (whole / "gap").iterdir():
        edit(path, FrameOfReferenceUID=None)
    shutil.copy(next((whole / "whole").iterdir()), whole / "dx.dcm")
    edit(whole / "dx.dcm", Modality="DX")
    (whole / "note.txt").write_text("not DICOM")
    return whole


def test_a_whole_series_is_read_by_both_modes(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["series", str(whole)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["1.2.3.4: 7 axial slices, 2.5x0.7x0.8 mm", "  strict      reads it", "  repair      reads it"]


def test_what_strict_refuses_and_repair_does_is_said_of_each_series(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["series", str(mixed)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    first, second = out.split("1.2.3.5: ")
    assert first.startswith("1.2.3.4: 7 axial slices") and "refuses" not in first
    assert "repairable missing slices: 1, the longest gap 5 mm after slice 2 -> give all slices of one acquisition" in second
    assert "strict refuses it repair reads it; " in second and "interpolated at even distances" in second
    assert "note missing or invalid UIDs (frame of reference)" in second
    assert "left out: 1 x modality DX, only CT is read" in second


@pytest.mark.parametrize("packed", [False, True])
def test_json_says_the_same_of_a_folder_and_of_a_zip(mixed: Path, packed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    path = shutil.make_archive(str(mixed.with_name("packed")), "zip", mixed) if packed else str(mixed)
    assert main(["series", path, "--json"]) == 1
    out = capsys.readouterr().out
    assert "chestseg-zip-" not in out
    told = json.loads(out)
    whole, gap = told["series"]
    assert told["path"] == path and whole["series_uid"] == "1.2.3.4" and whole["strict"] is whole["repair"] is None
    assert gap["strict"].startswith(f"{path}: missing slices: 1, ") and gap["repair"] is None
    assert {finding["kind"]: finding["level"] for finding in gap["findings"]} == {"uids": "note", "gaps": "repairable"}
    assert gap["gaps"] == [{"after_slice": 1, "length_mm": 5.0, "missing": 1}]
    assert told["left_out"]["modality DX, only CT is read"] == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", "absent: no such file: check the path"),
        ("note.txt", "note.txt: no CT series: 1 x "),
        ("empty", "empty: no CT series: no files: name the folder or zip of one"),
        ("torn.zip", "torn.zip: damaged zip"),
    ],
)
def test_a_place_without_a_series_is_one_line(tmp_path: Path, name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("note.txt", "torn.zip"):
        (tmp_path / file).write_text("neither")
    assert main(["series", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("chestseg: error: ") and told in line
