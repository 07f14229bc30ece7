"""NIfTI: exact in every orientation, the same geometry as other readers', and one line for what is no volume."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.nifti import read_nifti, read_nifti_grid, read_nifti_labels, write_nifti
from tests.arrays.test_grid import ORIENTATIONS, SHAPE, oriented, turn

PHANTOM = (np.arange(np.prod(SHAPE)) * 37 - 1000).astype(np.int16).reshape(SHAPE)
GRID = Grid.upright(SHAPE, (5.0, 0.75, 0.5), (-20.5, 31.25, -700))
VOLUME = Volume(PHANTOM, GRID)


def nifti_bytes(values: np.ndarray, affine: np.ndarray | None = None, **fields: object) -> bytes:
    """A file that holds `values` (x, y, z) as they are, and then the header's `fields`, such as a slope that was not used to write them."""
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine, dtype=values.dtype)
    content = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    content[:348] = header.binaryblock
    return bytes(content)


@pytest.mark.parametrize("turned", [None, turn(17, (1, 2, 3)), turn(-31, (3, -1, 1))])
def test_round_trip_is_exact_in_every_orientation(tmp_path: Path, turned: np.ndarray | None) -> None:
    for axes, signs in ORIENTATIONS:
        volume = Volume(PHANTOM, oriented(axes, signs, turned))
        write_nifti(tmp_path / "a.nii", volume)
        found = read_nifti(tmp_path / "a.nii")
        assert (found.values == PHANTOM).all() and found.values.dtype == np.int16
        # A header keeps 32 bits of each number.
        assert found.grid.matches(volume.grid, 1e-4)
        write_nifti(tmp_path / "b.nii", found)
        assert (read_nifti(tmp_path / "b.nii").grid.affine == found.grid.affine).all()


def test_geometry_is_simpleitk_s(tmp_path: Path) -> None:
    for axes, signs in ORIENTATIONS:
        volume = Volume(PHANTOM, oriented(axes, signs, turn(17, (1, 2, 3))))
        write_nifti(tmp_path / "a.nii.gz", volume)
        image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
        assert (SimpleITK.GetArrayFromImage(image) == PHANTOM).all()
        place = image.TransformIndexToPhysicalPoint((4, 1, 2))
        assert place == pytest.approx((volume.grid.affine @ (2, 1, 4, 1))[:3], abs=1e-4)


def test_qform_says_the_same_or_nothing(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", Volume(PHANTOM, oriented((2, 1, 0), (1, -1, 1), turn(17, (1, 2, 3)))))
    header = nibabel.Nifti1Image.load(tmp_path / "a.nii").header
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert (header["qform_code"], header["sform_code"], header.get_xyzt_units()[0]) == (1, 1, "mm")
    sheared = GRID.affine.copy()
    sheared[1, 0] = 1.8
    write_nifti(tmp_path / "b.nii", Volume(PHANTOM, Grid(SHAPE, sheared)))
    assert nibabel.Nifti1Image.load(tmp_path / "b.nii").header["qform_code"] == 0
    assert read_nifti(tmp_path / "b.nii").grid.matches(Grid(SHAPE, sheared), 1e-4)


def test_the_grid_is_told_by_the_header_alone(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", VOLUME)
    assert read_nifti_grid((tmp_path / "a.nii").read_bytes()[:400]).matches(GRID, 1e-4)
    with pytest.raises(ValueError, match="^scan: an image of 3x4x5x2"):
        read_nifti_grid(nifti_bytes(np.zeros((3, 4, 5, 2), np.int16)), "scan")


def test_bytes_packed_and_not_read_as_the_file_does(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", VOLUME)
    write_nifti(tmp_path / "a.nii.gz", VOLUME)
    plain, packed = (tmp_path / "a.nii").read_bytes(), (tmp_path / "a.nii.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    for source in (plain, packed, tmp_path / "a.nii", str(tmp_path / "a.nii.gz")):
        found = read_nifti(source)
        assert (found.values == PHANTOM).all() and (found.grid.affine == GRID.affine).all()
        assert found.values.flags.c_contiguous and found.values.flags.writeable
    write_nifti(tmp_path / "a.nii.gz", VOLUME)
    assert (tmp_path / "a.nii.gz").read_bytes() == packed


def test_nifti_2_and_big_endian() -> None:
    affine = np.diag([2.0, 3, 4, 1])
    for image in (nibabel.Nifti2Image(PHANTOM.T, affine), nibabel.Nifti1Image(PHANTOM.T, affine, nibabel.Nifti1Header(endianness=">"))):
        found = read_nifti(image.to_bytes())
        assert (found.values == PHANTOM).all() and found.values.dtype.isnative
        assert found.grid.spacing == (4, 3, 2)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [
        (np.int16, None, 0, np.int16),
        (np.uint16, None, 0, np.int16),
        (np.uint16, 1, -1024, np.int16),
        (np.uint8, 10, -1000, np.int16),
        (np.int32, None, 0, np.int16),
        (np.int64, -1, 3, np.int16),
        (np.int16, 0.5, 0.25, np.float32),
        (np.float32, None, 0, np.float32),
        (np.float64, 2, 1, np.float32),
    ],
)
def test_slope_and_intercept_are_applied(dtype: type, slope: float | None, intercept: float, expected: type) -> None:
    stored = np.arange(np.prod(SHAPE)).reshape(SHAPE[::-1]).astype(dtype)
    found = read_nifti(nifti_bytes(stored, scl_slope=slope or 0, scl_inter=intercept))
    assert found.values.dtype == expected
    np.testing.assert_allclose(found.values, stored.T.astype(float) * (slope or 1) + intercept, rtol=1e-6)


def test_unsigned_values_beyond_16_bits_with_a_sign_may_come_back_by_the_intercept() -> None:
    stored = np.full((2, 2, 2), 33000, np.uint16)
    assert (read_nifti(nifti_bytes(stored, scl_slope=1, scl_inter=-1024)).values == 31976).all()


def test_trailing_axes_of_one_are_dropped_and_others_refused() -> None:
    assert read_nifti(nifti_bytes(np.zeros((2, 3, 4, 1), np.int16))).grid.shape == (4, 3, 2)
    with pytest.raises(ValueError, match=r"^x: an image of 2x3x4x2: a volume has three axes"):
        read_nifti(nifti_bytes(np.zeros((2, 3, 4, 2), np.int16)), "x")
    with pytest.raises(ValueError, match=r"an image of 2x3: a volume has three axes"):
        read_nifti(nifti_bytes(np.zeros((2, 3), np.int16)))


def test_other_units_become_millimetres() -> None:
    metres = nifti_bytes(PHANTOM.T, np.diag([0.002, 0.003, 0.004, 1]), xyzt_units=1)
    assert read_nifti(metres).grid.spacing == pytest.approx((4, 3, 2))


def test_without_forms_the_spacing_still_counts() -> None:
    bare = nifti_bytes(PHANTOM.T, np.diag([2.0, 3, 4, 1]), sform_code=0, qform_code=0)
    assert read_nifti(bare).grid.spacing == (4, 3, 2)


def with_value(value: float, dtype: type) -> bytes:
    values = np.zeros((3, 3, 3), dtype)
    values[1, 2, 0] = value
    return nifti_bytes(values)


GOOD = nifti_bytes(PHANTOM.T)
BAD = [
    ("not a NIfTI file", b"DICM" * 500),
    ("not a NIfTI file", b""),
    ("half of a .hdr and .img pair", GOOD[:344] + b"ni1\0" + GOOD[348:]),
    ("truncated or damaged NIfTI", GOOD[:-1]),
    ("truncated or damaged NIfTI", gzip.compress(GOOD)[:-20]),
    ("truncated or damaged NIfTI", gzip.compress(GOOD)[:-8] + b"\0" * 8),
    ("truncated or damaged NIfTI", b"\x1f\x8bno gzip at all"),
    ("holds NaN or infinite values", with_value(np.nan, np.float32)),
    ("holds NaN or infinite values", with_value(-np.inf, np.float64)),
    ("holds values from 0 to 64512: HU fit 16 bits", with_value(64512, np.uint16)),
    ("holds values from -2.14748e+09 to 0", with_value(-(2**31), np.int32)),
    ("holds values from 0 to 1e+200", with_value(1e200, np.float64)),
    ("its values are of type complex64", nifti_bytes(np.zeros((2, 2, 2), np.complex64))),
    ("its values are of type RGB", nifti_bytes(np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]))),
    ("is singular or not finite", nifti_bytes(PHANTOM.T, srow_z=[0, 0, 0, 0])),
    ("is singular or not finite", nifti_bytes(PHANTOM.T, srow_x=[1, np.nan, 0, 0])),
    ("declares 55987 GB of values", nifti_bytes(PHANTOM.T, dim=[3, 30000, 30000, 31104, 1, 1, 1, 1])),
]


@pytest.mark.parametrize(("message", "content"), BAD)
def test_bad_files_give_one_line(message: str, content: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        read_nifti(content, "scan.nii")
    assert str(caught.value).startswith("scan.nii: ") and message in str(caught.value) and "\n" not in str(caught.value)


def test_absent_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.nii: No such file or directory: check the path"):
        read_nifti(tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"Is a directory"):
        read_nifti(tmp_path)


def test_damage_anywhere_in_the_header_is_read_or_refused() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(GOOD)
        for place in random.integers(0, 352, 3):
            content[place] = random.integers(256)
        try:
            read_nifti(bytes(content), "scan.nii")
        except ValueError as error:
            assert str(error).startswith("scan.nii: ") and "\n" not in str(error)


def test_labels_are_whole_numbers() -> None:
    labels = np.array([0, 1, 2, 255]).reshape(4, 1, 1)
    for dtype in (np.uint8, np.int16, np.float32, np.float64):
        found = read_nifti_labels(nifti_bytes(labels.astype(dtype)))
        assert found.values.dtype == np.uint8 and found.values.ravel().tolist() == [0, 1, 2, 255]
    scaled = nifti_bytes((labels == 1).astype(np.uint8) * 255, scl_slope=1 / 255)
    assert read_nifti_labels(scaled).values.ravel().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("value", [0.5, -1, 256])
def test_other_labels_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=rf"^m: holds the value {value:g}: labels are whole numbers"):
        read_nifti_labels(with_value(value, np.float32), "m")


def test_values_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        write_nifti(tmp_path / "a.nii", VOLUME, np.uint8)
    write_nifti(tmp_path / "a.nii", Volume(PHANTOM > 0, GRID), np.uint8)
    assert nibabel.Nifti1Image.load(tmp_path / "a.nii").get_data_dtype() == np.uint8
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_real_volumes_read_as_simpleitk_reads_them(real_data: Path) -> None:
    files = sorted((real_data / "Dataset102_MedSegCovid").glob("*Tr/*.nii.gz"))
    assert files
    for path in files:
        found, image = read_nifti(path), SimpleITK.ReadImage(str(path))
        assert (found.values == SimpleITK.GetArrayViewFromImage(image)).all()
        size = np.array(image.GetSize()) - 1
        corner = image.TransformIndexToPhysicalPoint(size.tolist())
        assert corner == pytest.approx((found.grid.affine @ (*size[::-1], 1))[:3], abs=1e-2)
