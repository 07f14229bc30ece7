"""Series that are no volume as they stand: refused in strict mode, resampled in repair mode, told in both."""

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.dicom.series import read_series, report_series
from chestseg.dicom.series_report import Gap
from chestseg.dicom.write_series import write_series
from tests.dicom.series_phantom import IDS, assert_same, edit, oblique, phantom, smooth


def moved(path, number, step, by=(0.0, 0.0, 0.0)):
    edit(path, ImagePositionPatient=[-101.5 + by[0], 33.25 + by[1], round(-7.125 + number * step + by[2], 4)])


def test_missing_slices_are_interpolated_and_the_others_kept(tmp_path):
    volume = phantom()
    paths = write_series(tmp_path, volume, **IDS)
    paths[2].unlink()
    paths[3].unlink()
    with pytest.raises(ValueError, match=r"missing slices: 2, the longest gap 7.5 mm after slice 2: give all slices .* repair mode"):
        read_series(tmp_path)
    series = read_series(tmp_path, "repair")
    assert series.report.gaps == (Gap(1, 7.5, 2),)
    assert series.report.repairs == (f"{series.report.findings[0].text}: what lies between slices is interpolated at even distances",)
    assert series.sop_uids == ("1.2.3.4.1", "1.2.3.4.2", None, None, "1.2.3.4.5", "1.2.3.4.6", "1.2.3.4.7")
    assert_same(series.volume, volume)  # the phantom rises evenly from slice to slice


def test_gaps_too_long_to_interpolate_are_refused_in_both_modes(tmp_path):
    paths = write_series(tmp_path, phantom(shape=(20, 4, 4)), **IDS)
    for path in paths[3:12]:
        path.unlink()
    with pytest.raises(ValueError, match=r"missing slices: 9, the longest gap 25 mm after slice 3: give all slices of one acquisition$"):
        read_series(tmp_path, "repair")


def test_slices_too_far_apart_are_no_volume(tmp_path):
    write_series(tmp_path, phantom(spacing=(25.0, 1.0, 1.0)), **IDS)
    with pytest.raises(ValueError, match="slices lie 25 mm apart, which leaves most of the body out"):
        read_series(tmp_path, "repair")


def test_uneven_distances_are_resampled_to_the_commonest(tmp_path):
    volume = phantom(shape=(9, 6, 6), spacing=(1.0, 1.0, 1.0))
    for number, path in enumerate(write_series(tmp_path, volume, **IDS)):
        if number in (6, 7):
            path.unlink()
        moved(path, number, 1.0, (0, 0, 0.3 if number == 8 else 0)) if number not in (6, 7) else None
    with pytest.raises(ValueError, match=r"missing slices: 2, .* \(and 1 more findings: `chestseg series` shows them\)"):
        read_series(tmp_path)
    series = read_series(tmp_path, "repair")
    assert series.report.of_kind("uneven").text == "slices lie 1 to 3.3 mm apart"
    assert series.report.steps_mm == pytest.approx((1.0, 3.3))
    assert series.volume.grid.shape == (9, 6, 6)
    assert series.volume.grid.spacing[0] == pytest.approx(8.3 / 8)
    assert np.array_equal(series.volume.values[-1], volume.values[-1])
    assert (np.diff(series.volume.values, axis=0) > 0).all()


def test_positions_rounded_to_a_tenth_are_even(tmp_path):
    volume = phantom(shape=(20, 3, 3), spacing=(0.625, 0.7, 0.7))
    for number, path in enumerate(write_series(tmp_path, volume, **IDS)):
        edit(path, ImagePositionPatient=[-101.5, 33.2, round(-7.1 + number * 0.625, 1)])
    series = read_series(tmp_path)
    assert np.array_equal(series.volume.values, volume.values)
    assert series.volume.grid.spacing[0] == pytest.approx(0.625, abs=0.01)


def test_the_first_of_duplicates_is_kept(tmp_path):
    volume = phantom()
    write_series(tmp_path / "a", volume, **IDS)
    later = write_series(tmp_path / "b", Volume(volume.values + 1, volume.grid), **IDS)
    for number, path in enumerate(later):
        edit(path, InstanceNumber=number + 8, SOPInstanceUID=f"1.2.3.9.{number}")
    with pytest.raises(ValueError, match="slices in the place of another: 7"):
        read_series(tmp_path)
    series = read_series(tmp_path, "repair")
    assert series.report.duplicates == 7
    assert_same(series.volume, volume)


@pytest.mark.parametrize("directions", [None, *oblique()])
def test_whole_pixel_tilt_is_undone_exactly(tmp_path, directions):
    volume = phantom(directions, spacing=(2.0, 0.5, 0.5))
    tilt = float(np.degrees(np.arctan(0.25)))
    inner = np.full((7, 40, 12), -1024, np.int16)
    inner[:, 15:25] = volume.values
    padded = Volume(inner, Grid(inner.shape, volume.grid.affine))
    write_series(tmp_path, padded, tilt_degrees=tilt, **IDS)
    with pytest.raises(
        ValueError, match=r"the gantry is tilted by 14.0 degrees: give a series reconstructed without tilt, or read it in repair"
    ):
        read_series(tmp_path)
    series = read_series(tmp_path, "repair")
    assert series.report.tilt_degrees == pytest.approx(tilt)
    assert series.volume.grid.shape[1] == 46
    mine, theirs = series.volume.canonical(), padded.canonical()
    offset = np.linalg.inv(mine.grid.affine) @ theirs.grid.affine[:, 3]
    np.testing.assert_allclose(offset, np.rint(offset), atol=1e-6)
    start = np.rint(offset[:3]).astype(int)
    common = mine.values[tuple(slice(s, s + n) for s, n in zip(start.clip(0), theirs.values.shape, strict=True))]
    assert np.array_equal(common, theirs.values)


def test_tilt_keeps_the_patient_in_place(tmp_path):
    volume = smooth()
    write_series(tmp_path, volume, tilt_degrees=11.0, **IDS)
    series = read_series(tmp_path, "repair")
    rows = round(float((np.linalg.inv(series.volume.grid.affine) @ volume.grid.affine[:, 3])[1]))
    back = series.volume.values[:, rows : rows + 40]
    assert np.abs(back - np.maximum(volume.values, -1000))[:, 2:-12].max() < 40
    assert set(series.sop_uids) == {None}  # the grid is larger than the slices, whose pixel coordinates no longer hold


def test_slices_shifted_within_their_planes_are_brought_together(tmp_path):
    volume = phantom(spacing=(2.0, 0.5, 0.5))
    for number, path in enumerate(write_series(tmp_path, volume, **IDS)):
        moved(path, number, 2.0, (1.0 if number in (2, 5) else 0.0, 0, 0))
    with pytest.raises(ValueError, match=r"slices are shifted by up to 1 mm within their planes"):
        read_series(tmp_path)
    values = read_series(tmp_path, "repair").volume.values
    assert values.shape == (7, 10, 14)
    assert np.array_equal(values[2, :, 2:], volume.values[2]) and (values[2, :, :2] == -1024).all()
    assert np.array_equal(values[3, :, :-2], volume.values[3])


def test_slices_of_another_size_and_spacing_come_to_the_commonest(tmp_path):
    volume = smooth(shape=(8, 40, 40))
    paths = write_series(tmp_path, volume, **IDS)
    half = Volume(volume.values[:, ::2, ::2], Grid((8, 20, 20), volume.grid.affine * [1, 2, 2, 1]))
    coarse = write_series(tmp_path / "coarse", half, **IDS)
    paths[4].unlink()
    for number, path in enumerate(coarse):
        if number != 4:
            path.unlink()
    with pytest.raises(ValueError, match=r"differ in size or pixel spacing: 7 of 40x40 at 1x1 mm, 1 of 20x20 at 2x2 mm"):
        read_series(tmp_path)
    series = read_series(tmp_path, "repair")
    assert series.volume.grid.matches(volume.grid, 1e-9)
    assert np.array_equal(series.volume.values[3], volume.values[3])
    assert np.abs(series.volume.values[4, :39, :39].astype(int) - volume.values[4, :39, :39]).max() < 25


def test_a_stated_tilt_that_positions_do_not_show_is_told(tmp_path):
    for path in write_series(tmp_path, phantom(), **IDS):
        edit(path, GantryDetectorTilt="12.5")
    report = report_series(tmp_path)
    assert "GantryDetectorTilt is 12.5 degrees" in report.of_kind("tilt_not_seen").text
    assert report.refusal("strict") is None


@pytest.mark.parametrize("attributes", [{"RescaleType": "US"}, {"RescaleSlope": None, "RescaleIntercept": None, "PixelRepresentation": 1}])
def test_values_without_a_unit_are_hu_in_repair_mode_only(tmp_path, attributes):
    for path in write_series(tmp_path, phantom(), **IDS):
        edit(path, **attributes)
    with pytest.raises(ValueError, match="export the original CT series, with the scanner's rescale, or read it in repair mode"):
        read_series(tmp_path)
    values = read_series(tmp_path, "repair").volume.values
    assert values.min() == (-1000 if "RescaleType" in attributes else 24)
