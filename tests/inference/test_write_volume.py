"""Results of volumes: masks exactly on the source's grid in every orientation, records that guess nothing, pictures of what matters."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume, restore
from chestseg.dicom.write_series import write_series
from chestseg.inference.volume_inputs import VolumeInput, list_volumes, read_volumes
from chestseg.inference.volume_predictor import VolumePrediction
from chestseg.inference.write_volume import FORMATS, VolumeResults, draw_slices
from chestseg.nifti import read_nifti, read_nifti_labels, write_nifti
from tests.arrays.test_grid import ORIENTATIONS, SHAPE, oriented, turn

MODEL = {"name": "tiny", "digest": "ab" * 32}
WINDOW = (-1000.0, 400.0)
PHANTOM = (np.random.default_rng(0).permutation(np.prod(SHAPE)) * 20 - 800).astype(np.int16).reshape(SHAPE)
GRID = Grid.upright((40, 20, 30), (5.0, 2.0, 1.0), (10, 20, -100))


def case(name: str = "a", grid: Grid = GRID) -> VolumeInput:
    return VolumeInput(name, Path("in/a.nii.gz"), Volume(np.full(grid.shape, -1000, np.int16), grid), None)


def prediction(grid: Grid = GRID, slices: tuple[int, ...] = (10, 11, 30), lung_ml: float | None = 100.0) -> VolumePrediction:
    mask = np.zeros(grid.shape, np.uint8)
    for place in slices:
        mask[place, 5:15, 10:15] = 1
    return VolumePrediction(mask, 0.87654321, float(mask.sum() * grid.voxel_ml), lung_ml)


def threshold(volume: Volume) -> VolumePrediction:
    """A prediction made as the predictor makes it: in canonical order, then brought back."""
    mask = restore((volume.canonical().values > 0).astype(np.uint8), volume.grid)
    return VolumePrediction(mask, 1.0, float(mask.sum() * volume.grid.voxel_ml), None)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("turned", [None, turn(17, (1, 2, 3)), turn(-31, (3, -1, 1))])
def test_series_to_volume_to_nifti_to_mask_is_exact_in_every_orientation(tmp_path: Path, turned: np.ndarray | None) -> None:
    for number, (axes, signs) in enumerate(ORIENTATIONS if turned is None else ORIENTATIONS[::7]):
        truth = Volume(PHANTOM, oriented(axes, signs, turned))
        folder = tmp_path / f"{number}"
        write_series(folder / "dicom", truth, patient_id="P", study_uid="1.2.3", series_uid="1.2.3.4")
        [series] = read_volumes(list_volumes([folder / "dicom"]), pytest.fail)
        write_nifti(folder / "scan.nii.gz", series.volume)
        [nifti] = read_volumes(list_volumes([folder / "scan.nii.gz"]), pytest.fail)
        expected = truth.canonical()
        results = VolumeResults(folder / "out", ["nifti"], MODEL, WINDOW)
        for source in (series, nifti):
            results.add(source, threshold(source.volume))
            found = read_nifti_labels(folder / "out" / "masks" / f"{source.name}.nii.gz")
            assert found.grid.matches(source.volume.grid, 1e-4)
            assert (found.values == (source.volume.values > 0)).all()
            assert (found.canonical().values == (expected.values > 0)).all()
            assert found.canonical().grid.matches(expected.grid, 1e-4)
        image = read_nifti(folder / "scan.nii.gz")
        mask = read_nifti(folder / "out" / "masks" / "scan.nii.gz")
        assert (mask.grid.affine == image.grid.affine).all()


def test_every_format_and_nothing_else(tmp_path: Path) -> None:
    results = VolumeResults(tmp_path, FORMATS, MODEL, WINDOW)
    for name in ("a", "b, c"):
        results.add(case(name), prediction())
    kinds = {"masks": "nii.gz", "overlays": "png", "cases": "json"}
    assert set(files_of(tmp_path)) == {f"{kind}/{name}.{end}" for kind, end in kinds.items() for name in ("a", "b, c")}
    assert results.written == 2
    before = files_of(tmp_path)
    results.add(case(), prediction())
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(("form", "left"), [("nifti", "masks"), ("json", "cases"), ("overlay", "overlays")])
def test_one_format(tmp_path: Path, form: str, left: str) -> None:
    VolumeResults(tmp_path, (form,), MODEL, WINDOW).add(case(), prediction())
    assert [path.name for path in tmp_path.iterdir()] == [left]


@pytest.mark.parametrize("formats", [("png",), ()])
def test_unknown_format_is_refused(tmp_path: Path, formats: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="choose from nifti, json, overlay"):
        VolumeResults(tmp_path, formats, MODEL, WINDOW)


def test_record_of_a_nifti_file(tmp_path: Path) -> None:
    results = VolumeResults(tmp_path, ("json",), MODEL, WINDOW)
    results.add(case(), prediction())
    assert json.loads((tmp_path / "cases/a.json").read_text()) == {
        "case": "a",
        "source": "in/a.nii.gz",
        "shape": [40, 20, 30],
        "spacing_mm": [5.0, 2.0, 1.0],
        "probability": 0.876543,
        "present": True,
        "volume_ml": 1.5,
        "lung_ml": 100.0,
        "lung_share": 0.015,
        "model": MODEL,
    }
    results.add(case(), prediction(slices=(), lung_ml=None))
    empty = json.loads((tmp_path / "cases/a.json").read_text())
    assert (empty["present"], empty["volume_ml"], empty["lung_ml"], empty["lung_share"]) == (False, 0, None, None)


def test_record_of_a_series_names_it_but_not_the_patient(tmp_path: Path) -> None:
    write_series(
        tmp_path / "scan", Volume(PHANTOM, oriented((2, 1, 0), (1, 1, 1))), patient_id="P", study_uid="1.2.3", series_uid="1.2.3.4"
    )
    [found] = read_volumes(list_volumes([tmp_path / "scan"]), pytest.fail)
    VolumeResults(tmp_path, ("json",), MODEL, WINDOW).add(found, threshold(found.volume))
    record = json.loads((tmp_path / "cases/scan.json").read_text())
    assert (record["study_uid"], record["series_uid"], record["repairs"]) == ("1.2.3", "1.2.3.4", [])
    assert "patient_id" not in record


def tiles_of(picture: np.ndarray) -> list[np.ndarray]:
    """Slices of 40 x 30 mm, of 384 x 288 pixels."""
    return [tile for row in np.split(picture, picture.shape[0] // 384) for tile in np.split(row, picture.shape[1] // 288, axis=1)]


def drawn(tile: np.ndarray) -> np.ndarray:
    return (tile[40:, :, 0].astype(int) - tile[40:, :, 2]) > 20


def test_overlay_shows_the_fullest_slices_from_the_head_down(tmp_path: Path) -> None:
    volume, found = case().volume, prediction(slices=(3, 10, 11, 30))
    found.mask[30, 5:15, 5:10] = 1
    found.mask[3, 5:10] = 0
    picture = draw_slices(volume, found.mask, WINDOW)
    assert picture.dtype == np.uint8 and picture.shape == (384, 3 * 288, 3)
    areas = [drawn(tile).sum() for tile in tiles_of(picture)]
    assert areas[0] > 1.5 * areas[1] > 1.5 * areas[2] > 0
    VolumeResults(tmp_path, ("overlay",), MODEL, WINDOW).add(case(), found)
    stored = cv2.imread(str(tmp_path / "overlays/a.png"), cv2.IMREAD_UNCHANGED)
    assert stored is not None and (stored[:, :, ::-1] == picture).all()


def test_overlay_is_the_same_for_every_orientation() -> None:
    upright = Volume(PHANTOM, oriented((2, 1, 0), (1, 1, 1))).canonical()
    expected = draw_slices(upright, (upright.values > 600).astype(np.uint8), WINDOW)
    for _, signs in ORIENTATIONS[:8]:
        grid = oriented((2, 1, 0), signs)
        turned = np.flip(upright.values, [axis for axis in range(3) if signs[axis] < 0])
        volume = Volume(turned, Grid(SHAPE, _lying_as(grid, upright.grid)))
        assert (draw_slices(volume, (turned > 600).astype(np.uint8), WINDOW) == expected).all()


def _lying_as(grid: Grid, upright: Grid) -> np.ndarray:
    """The affine of `grid`, moved so that it covers the same place as `upright`."""
    affine = grid.affine.copy()
    affine[:3, 3] += upright.affine[:3, 3] - grid.canonical().affine[:3, 3]
    return affine


def test_overlay_without_infiltrate_is_spread_over_the_volume() -> None:
    picture = draw_slices(case().volume, np.zeros(GRID.shape, np.uint8), WINDOW)
    assert picture.shape == (2 * 384, 3 * 288, 3)
    assert not any(drawn(tile).any() for tile in tiles_of(picture))
    few = Grid.upright((2, 20, 30), (5.0, 2.0, 1.0))
    assert draw_slices(case(grid=few).volume, np.zeros(few.shape, np.uint8), WINDOW).shape == (384, 2 * 288, 3)
