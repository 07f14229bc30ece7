"""Uploads are told apart by content, refused by their headers where these suffice, and read as offline prediction reads them."""

import tempfile
from pathlib import Path

import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.inference.volume_inputs import read_volumes
from chestseg.serving.volume_reading import Limits, Looked, look, plain, read
from tests.serving.volumes_sent import HU, SCAN, contents, nifti, refused, series, zipped

LIMITS = Limits(files=100, slices=100, voxels=10**6)


def sent(folder: Path, *bodies: bytes) -> Path:
    folder.mkdir()
    for number, body in enumerate(bodies):
        (folder / f"{number:05}").write_bytes(body)
    return folder


@pytest.mark.parametrize(("spacing", "told"), [((4.0, 4.0, 60.0), "0.128x0.16x3.6"), ((4.0, 40.0, 40.0), "0.128x1.6x2.4")])
def test_a_scan_that_is_larger_than_a_scanner(tmp_path: Path, spacing: tuple[float, float, float], told: str) -> None:
    scan = Volume(HU, Grid.upright(HU.shape, spacing))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"a scan of {told} m"):
        look(sent(tmp_path / "u", nifti(tmp_path, scan)), "strict", LIMITS)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_nifti(tmp_path: Path, name: str) -> None:
    folder = sent(tmp_path / "u", nifti(tmp_path, name=name))
    looked = look(folder, "strict", LIMITS)
    assert looked[:1] + looked[2:] == ("nifti", 32, HU.size)
    source = read(folder, looked.kind, "strict")
    assert (source.case.volume.values == HU).all() and source.case.series is None and not source.files


def test_a_series_is_the_same_content_as_a_form_in_any_order_and_as_a_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    files = contents(series(tmp_path / "dicom"))
    bodies = [content for _, content in files]
    ways = [sent(tmp_path / "a", *bodies), sent(tmp_path / "b", *bodies[::-1]), sent(tmp_path / "c", zipped(files))]
    assert len({look(folder, "strict", LIMITS) for folder in ways}) == 1
    assert not list((tmp_path / "temporary").iterdir())
    [offline] = read_volumes([tmp_path / "dicom"], pytest.fail)
    for folder in ways:
        source = read(folder, "series", "strict")
        assert (source.case.volume.values == offline.volume.values).all()
        assert (source.case.volume.grid.affine == offline.volume.grid.affine).all()
        assert len(source.files) == 32 and source.case.series is not None


def test_what_is_no_volume_is_refused_without_its_names(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    for number, (what, (body, said)) in enumerate(refused(tmp_path / "made").items()):
        if not body:
            continue
        folder = sent(tmp_path / f"u{number}", body)
        with pytest.raises(ValueError) as caught:
            look(folder, "strict", LIMITS)
        line = str(caught.value)
        assert said in line and line.startswith("upload") and "\n" not in line, what
        assert not any(leak in line for leak in ("Smith", str(tmp_path), "1.2.826", tempfile.gettempdir())), what


def test_repair_mends_what_strict_refuses(tmp_path: Path) -> None:
    bodies = refused(tmp_path)
    for name in ("missing slice", "two series"):
        folder = sent(tmp_path / name.replace(" ", ""), bodies[name][0])
        looked = look(folder, "repair", LIMITS)
        source = read(folder, looked.kind, "repair")
        assert source.case.volume.values.shape == HU.shape and source.case.series is not None and source.case.series.report.repairs


def test_limits(tmp_path: Path) -> None:
    files = contents(series(tmp_path / "dicom"))
    for number, limits in enumerate((Limits(100, 31, 10**6), Limits(100, 100, HU.size - 1))):
        for kind, body in (("n", nifti(tmp_path)), ("z", zipped(files))):
            with pytest.raises(ValueError, match="^upload: 32 slices and 76800 voxels, at most"):
                look(sent(tmp_path / f"{kind}{number}", body), "strict", limits)
    with pytest.raises(ValueError, match="^upload: a zip of 32 files, more than 31"):
        look(sent(tmp_path / "many", zipped(files)), "strict", Limits(31, 100, 10**6))


def test_a_truncated_nifti_is_seen_when_it_is_read(tmp_path: Path) -> None:
    folder = sent(tmp_path / "u", nifti(tmp_path)[:-500])
    assert look(folder, "strict", LIMITS).kind == "nifti"
    with pytest.raises(ValueError, match="^upload: truncated or damaged NIfTI"):
        read(folder, "nifti", "strict")


def test_values_that_cannot_be_hu_are_seen_when_they_are_read(tmp_path: Path) -> None:
    folder = sent(tmp_path / "u", nifti(tmp_path, Volume(HU + 1024, SCAN.grid)))
    assert look(folder, "strict", LIMITS).kind == "nifti"
    with pytest.raises(ValueError, match="^upload: values from 24 to 1064 are not HU, which for air are near -1000: turn them into HU"):
        read(folder, "nifti", "strict")


def test_an_upload_that_is_gone_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^upload: .*send it again"):
        read(tmp_path / "gone", "nifti", "strict")


def test_plain_text() -> None:
    assert plain("/a/b/00001: 'Smith\\'s.dcm' of 1.2.840.1.5 at 1.25 mm\n and \"x y\"", Path("/a/b")) == (
        "upload/00001: (name) of (UID) at 1.25 mm and (name)"
    )


def test_content_tells_volumes_apart(tmp_path: Path) -> None:
    one, other = nifti(tmp_path), nifti(tmp_path, SCAN, "scan.nii")
    found: set[Looked] = {look(sent(tmp_path / str(n), body), "strict", LIMITS) for n, body in enumerate((one, other, one))}
    assert len(found) == 2
