"""NIfTI files, folders and zips of series become named volumes; what can't be read costs one line and nothing else."""

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.dicom.write_series import write_series
from chestseg.inference.volume_inputs import VolumeInput, list_volumes, read_volumes
from chestseg.nifti import write_nifti

SHAPE = (4, 6, 5)
PHANTOM = (np.arange(np.prod(SHAPE)) * 7 - 1000).astype(np.int16).reshape(SHAPE)
VOLUME = Volume(PHANTOM, Grid.upright(SHAPE, (5.0, 0.75, 0.5), (-20, 30, -700)))


def series(folder: Path, number: int = 1, volume: Volume = VOLUME, enhanced: bool = False) -> Path:
    uid = f"1.2.826.0.1.{number}"
    write_series(folder, volume, patient_id="P1", study_uid="1.2.826.0.1", series_uid=uid, series_number=number, enhanced=enhanced)
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def read(*named: Path | str, mode: str = "strict") -> tuple[list[VolumeInput], list[str]]:
    lines: list[str] = []
    return list(read_volumes(list_volumes(named), lines.append, mode)), lines  # type: ignore[arg-type]


def check(found: VolumeInput) -> None:
    assert (found.volume.values == PHANTOM).all()
    assert found.volume.grid.matches(VOLUME.grid, 1e-4)


def test_nifti_files(tmp_path: Path) -> None:
    for name in ("a.nii", "b.NII.GZ", "c.nii.gz"):
        write_nifti(tmp_path / name.lower(), VOLUME)
    found, lines = read(tmp_path / "a.nii", str(tmp_path / "*.gz"))
    assert [one.name for one in found] == ["a", "b", "c"] and not lines
    for one in found:
        check(one)
        assert one.series is None and one.source.parent == tmp_path


def test_folder_of_one_series(tmp_path: Path) -> None:
    [found], lines = read(series(tmp_path / "scan.v1"))
    check(found)
    assert found.name == "scan.v1" and found.source == tmp_path / "scan.v1" and not lines
    assert found.series is not None and found.series.series_uid == "1.2.826.0.1.1" and found.series.volume is found.volume


def test_folder_of_several_series_and_what_is_no_volume(tmp_path: Path) -> None:
    series(tmp_path / "scan" / "a", 1)
    series(tmp_path / "scan" / "b", 2, Volume(PHANTOM[:3], Grid((3, 6, 5), VOLUME.grid.affine)))
    (tmp_path / "scan" / "notes.txt").write_text("x")
    found, lines = read(tmp_path / "scan")
    assert not lines and [one.volume.grid.shape for one in found] == [SHAPE, (3, 6, 5)]
    assert len({one.name for one in found}) == 2 and all(len(one.name) == len("scan-") + 12 for one in found)
    shutil.copytree(tmp_path / "scan", tmp_path / "other" / "scan")
    assert [one.name for one in read(tmp_path / "other" / "scan")[0]] == [one.name for one in found]


def test_zip_of_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = zipped(series(tmp_path / "scan"), tmp_path / "study 1.zip")
    [found], lines = read(path)
    check(found)
    assert (found.name, found.source, lines) == ("study 1", path, [])
    assert not list(temporary.iterdir())


def test_zip_is_named_where_its_series_can_not_be_read(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    (folder / "IM0002.dcm").unlink()
    path = zipped(folder, tmp_path / "scan.zip")
    found, [line] = read(path)
    assert not found and line.startswith(f"{path}: ") and tempfile.gettempdir() + "/chestseg" not in line
    [found], lines = read(path, mode="repair")
    assert found.series is not None and found.series.report.repairs and not lines


def test_enhanced_file(tmp_path: Path) -> None:
    [found], lines = read(series(tmp_path, enhanced=True) / "enhanced.dcm")
    check(found)
    assert found.name == "enhanced" and not lines


def test_folder_of_everything(tmp_path: Path) -> None:
    series(tmp_path / "dicom")
    write_nifti(tmp_path / "x" / "a.nii.gz", VOLUME)
    write_nifti(tmp_path / ".hidden" / "b.nii.gz", VOLUME)
    zipped(tmp_path / "dicom", tmp_path / "x" / "z.zip")
    found, lines = read(tmp_path)
    assert [one.name for one in found] == ["a", "z", tmp_path.name] and not lines


def test_folder_of_nifti_files_with_a_table_is_no_folder_of_series(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", VOLUME)
    (tmp_path / "dataset.json").write_text("{}")
    assert list_volumes([tmp_path]) == [tmp_path / "a.nii.gz"]


def test_equal_names_are_told_apart_in_any_order(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_nifti(tmp_path / folder / "scan.nii", VOLUME)
    names = [one.name for one in read(tmp_path / "a", tmp_path / "b")[0]]
    assert len(set(names)) == 2 and all(name.startswith("scan-") for name in names)
    assert [one.name for one in read(tmp_path / "b", tmp_path / "a")[0]] == names[::-1]


def test_what_can_not_be_read_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    write_nifti(tmp_path / "good.nii", VOLUME)
    (tmp_path / "bad.nii").write_bytes(b"x")
    (tmp_path / "bad.zip").write_bytes(b"x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("x")
    named = [tmp_path / name for name in ("bad.nii", "absent.nii", "bad.zip", "absent.zip", "notes", "absent", "good.nii")]
    found, lines = read(*named)
    assert [one.name for one in found] == ["good"]
    assert len(lines) == 6 and all(line.startswith(f"{place}: ") for line, place in zip(lines, named, strict=False))
    assert "no CT series: not a DICOM image (1 files): name a NIfTI file" in lines[4]


def test_nothing_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no files in this folder"):
        list_volumes([tmp_path])
    with pytest.raises(ValueError, match="no file matches this pattern"):
        list_volumes([tmp_path / "*.nii"])


def test_a_radiograph_is_no_volume(real_data: Path) -> None:
    path = next((real_data / "siim" / "dicom-images-train").rglob("*.dcm"))
    found, [line] = read(path)
    assert not found and "only CT is read" in line
