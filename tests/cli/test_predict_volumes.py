"""`chestseg predict` with a bundle of volumes: what can't be segmented is one line that says what is wrong, and the rest is done."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import save_bundle
from chestseg.cli import main
from chestseg.dicom.write_series import write_series
from chestseg.nifti import read_nifti_labels, write_nifti
from tests.inference.tiny_volume import PREPROCESSING, SPACING, chest, tiny_network, tiny_spec

UIDS = {"patient_id": "phantom-1", "study_uid": "2.25.1", "series_uid": "2.25.2"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_bundle(tmp_path_factory.mktemp("model") / "bundle", tiny_spec(), tiny_network().state_dict()).folder)


@pytest.fixture(scope="module")
def scan() -> Volume:
    hu, _, _ = chest()
    return Volume(hu, Grid.upright((32, 40, 60), SPACING))


def as_series(folder: Path, scan: Volume) -> Path:
    write_series(folder, scan, **UIDS)
    return folder


def one_slice(folder: Path, scan: Volume) -> Path:
    for path in sorted(as_series(folder / "one", scan).iterdir())[1:]:
        path.unlink()
    return folder / "one"


def with_a_gap(folder: Path, scan: Volume) -> Path:
    sorted(as_series(folder / "gap", scan).iterdir())[9].unlink()
    return folder / "gap"


def of_another_modality(folder: Path, scan: Volume) -> Path:
    for path in as_series(folder / "mr", scan).iterdir():
        dataset = pydicom.dcmread(path)
        dataset.Modality = "MR"
        dataset.save_as(path)
    return folder / "mr"


def four_dimensional(folder: Path, scan: Volume) -> Path:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.int16), np.eye(4)), folder / "time.nii.gz")
    return folder / "time.nii.gz"


def not_a_number(folder: Path, scan: Volume) -> Path:
    values = np.zeros((4, 5, 6), np.float32)
    values[1, 1, 1] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "nan.nii.gz")
    return folder / "nan.nii.gz"


def too_large_for_hu(folder: Path, scan: Volume) -> Path:
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 70_000, np.int32), np.eye(4)), folder / "large.nii.gz")
    return folder / "large.nii.gz"


def cut_short(folder: Path, scan: Volume) -> Path:
    write_nifti(folder / "whole.nii.gz", scan)
    (folder / "cut.nii.gz").write_bytes((folder / "whole.nii.gz").read_bytes()[:-500])
    return folder / "cut.nii.gz"


def another_file(folder: Path, scan: Volume) -> Path:
    with gzip.open(folder / "text.nii.gz", "wb") as file:
        file.write(b"no volume" * 100)
    return folder / "text.nii.gz"


def not_hu(folder: Path, scan: Volume) -> Path:
    write_nifti(folder / "stored.nii.gz", Volume(scan.values + 1024, scan.grid))
    return folder / "stored.nii.gz"


def absent(folder: Path, scan: Volume) -> Path:
    return folder / "absent.nii.gz"


BROKEN: list[Callable[[Path, Volume], Path]] = [
    one_slice, with_a_gap, of_another_modality, four_dimensional, not_a_number, too_large_for_hu, not_hu, cut_short, another_file, absent,
]  # fmt: skip


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_what_is_broken_is_one_line_that_names_it(
    make: Callable[[Path, Volume], Path], model: str, scan: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make(tmp_path, scan)
    assert main(["predict", str(place), "--model", model, "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("chestseg: error: ") and place.name in lines[0] and ": " in lines[0]
    assert "0 of 1 volumes" in said.out
    assert not (tmp_path / "out").exists()


def test_the_others_are_done(model: str, scan: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nifti(tmp_path / "scan.nii.gz", scan)
    broken = [str(make(tmp_path, scan)) for make in (cut_short, four_dimensional)]
    assert main(["predict", *broken, str(tmp_path / "scan.nii.gz"), "--model", model, "--output", str(tmp_path / "out")]) == 1
    assert "1 of 3 volumes" in capsys.readouterr().out
    assert read_nifti_labels(tmp_path / "out" / "masks" / "scan.nii.gz").grid.matches(scan.grid, 1e-3)


def test_a_series_with_a_gap_is_repaired_where_that_is_asked_for(model: str, scan: Volume, tmp_path: Path) -> None:
    place = with_a_gap(tmp_path, scan)
    assert main(["predict", str(place), "--model", model, "--output", str(tmp_path / "out"), "--series", "repair"]) == 0
    assert read_nifti_labels(tmp_path / "out" / "masks" / "gap.nii.gz").values.shape == scan.values.shape
    shutil.rmtree(tmp_path / "out")


def test_a_format_of_the_other_track_is_refused_before_anything_is_done(model: str, scan: Volume, tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii.gz", scan)
    arguments = ["predict", str(tmp_path / "scan.nii.gz"), "--model", model, "--output", str(tmp_path / "out"), "--format", "png"]
    assert main(arguments) == 2
    assert not (tmp_path / "out").exists()


def test_too_little_memory_is_said_in_one_line(model: str, scan: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nifti(tmp_path / "scan.nii.gz", scan)
    arguments = ["predict", str(tmp_path / "scan.nii.gz"), "--model", model, "--output", str(tmp_path / "out"), "--memory-gb", "0.05"]
    assert main(arguments) == 1
    assert "scan.nii.gz" in capsys.readouterr().err


def test_grey_levels_of_a_stated_window_are_segmented_as_the_hu_they_stand_for(model: str, scan: Volume, tmp_path: Path) -> None:
    low, high = PREPROCESSING.window
    greys = np.rint((np.clip(scan.values, low, high) - low) * (1000 / (high - low))).astype(np.int16)
    write_nifti(tmp_path / "scan.nii.gz", scan)
    write_nifti(tmp_path / "greys.nii.gz", Volume(greys, scan.grid))
    for name, more in (("scan", []), ("greys", ["--window", "0,1000"])):
        assert main(["predict", str(tmp_path / f"{name}.nii.gz"), "--model", model, "--output", str(tmp_path / "out"), *more]) == 0
    masks = [read_nifti_labels(tmp_path / "out" / "masks" / f"{name}.nii.gz").values for name in ("scan", "greys")]
    assert (masks[0] != masks[1]).mean() < 0.001


@pytest.mark.parametrize(
    ("window", "code", "told"),
    [
        ("0,255", 1, "scan.nii.gz: values from -1000 to 40 go beyond --window [0.0, 255.0]: correct it, or leave it out if they are HU"),
        ("255,0", 2, "--window 255,0: the lowest value comes first"),
    ],
)
def test_a_window_that_is_not_the_files_is_one_line(
    model: str, scan: Volume, tmp_path: Path, window: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nifti(tmp_path / "scan.nii.gz", scan)
    arguments = ["predict", str(tmp_path / "scan.nii.gz"), "--model", model, "--output", str(tmp_path / "out"), "--window", window]
    assert main(arguments) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("chestseg: error: ") and line.endswith(told)
