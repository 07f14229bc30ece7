"""NIfTI files to volumes and back: the only module that knows NIfTI and nibabel.

NIfTI's world is RAS+ and its arrays are (x, y, z) in Fortran order; ours is LPS+ and (slices, rows, columns) in C order. The bytes are the
same, so arrays are never copied to change between them.
"""

import contextlib
import gzip
import io
import itertools
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.files import whole_file

MOST_BYTES = 2**32
"""4,096 slices of 512x512 in 32 bits: what declares more is damaged or hostile, and is not unpacked."""
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM_PER_UNIT = {1: 1000.0, 3: 0.001}
"""By the code of the header's `xyzt_units`: metres and microns; others are taken as millimetres."""
GZIP = b"\x1f\x8b"
FASTEST = 1
FLATTEST = 1e-6
"""Least volume of a voxel as a share of the product of its edges; below it the axes do not span space."""
SQUARE = 1e-4
"""Largest cosine between axes that a qform, which knows rotations only, may stand for."""
LABEL_ROUNDING = 1e-3
"""Labels scaled by a header's slope are whole numbers only to its rounding."""

Header = nibabel.Nifti1Header | nibabel.Nifti2Header


class _Refused(ValueError):
    """A finding of ours, without the file's name."""


def read_nifti(source: str | Path | bytes, name: str | None = None) -> Volume:
    """Read a volume of HU or grey levels.

    Args:
        source: a path or the bytes of a NIfTI-1 or NIfTI-2 file (`.nii`), packed with gzip or not.
        name: what errors call it; the path when None.

    Returns:
        Volume whose values are int16 where the stored numbers and the header's slope and intercept are whole, else float32.

    Raises:
        ValueError: no such file, not NIfTI, truncated or damaged, not three-dimensional, not one plain number a voxel, numbers that are not
            finite or do not fit, or an affine that is singular. One line that names the file.
    """
    with _naming(source, name), _opened(source) as stream:
        header = _read_header(stream)
        grid = _grid(header)
        return Volume(_scaled(_stored(header, stream, grid.shape), header.get_slope_inter()), grid)


def read_nifti_grid(source: str | Path | bytes, name: str | None = None) -> Grid:
    """Where a file's voxels lie, by its header; nothing else is unpacked.

    Args:
        source: as for `read_nifti`.
        name: as for `read_nifti`.

    Raises:
        ValueError: what `read_nifti` refuses because of the header.
    """
    with _naming(source, name), _opened(source) as stream:
        return _grid(_read_header(stream))


def read_nifti_labels(source: str | Path | bytes, name: str | None = None) -> Volume:
    """Read labels, as `read_nifti`.

    Returns:
        Volume of uint8.

    Raises:
        ValueError: as `read_nifti`, or a value that is no whole number from 0 to 255.
    """
    volume = read_nifti(source, name)
    labels = np.empty(volume.values.shape, np.uint8)
    with _naming(source, name):
        for found, target in zip(volume.values, labels, strict=True):
            whole = np.rint(found)
            wrong = (np.abs(found - whole) > LABEL_ROUNDING) | (whole < 0) | (whole > 255)
            if wrong.any():
                raise _Refused(
                    f"holds the value {found[wrong][0]:g}: labels are whole numbers from 0 to 255; is this an image or a probability map?"
                )
            target[...] = whole
    return Volume(labels, volume.grid)


def write_nifti(path: str | Path, volume: Volume, dtype: DTypeLike | None = None) -> None:
    """Write a NIfTI-1 file, packed where its name ends in `.gz`; equal volumes give equal bytes.

    The affine goes into the sform, and into the qform where that can hold it, which a tilted gantry's sheared grid is not.

    Args:
        path: there whole or not at all.
        volume: of numbers or booleans.
        dtype: type to store, which must hold all values of the volume's type; that type when None.
    """
    stored = np.dtype(dtype or volume.values.dtype)
    assert np.can_cast(volume.values.dtype, stored), (volume.values.dtype, stored)
    affine = RAS_TO_LPS @ volume.grid.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(volume.values.T.astype(stored, copy=False), affine, dtype=stored)
    image.set_sform(affine, "scanner")
    if _perpendicular(affine):
        image.set_qform(affine, "scanner")
    else:
        image.set_qform(None)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        if str(path).endswith(".gz"):
            with gzip.GzipFile("", "wb", FASTEST, file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


@contextlib.contextmanager
def _naming(source: str | Path | bytes, name: str | None) -> Iterator[None]:
    """Turn whatever a damaged file makes nibabel and gzip raise into a ValueError of one line that begins with the file's name."""
    called = name or (str(source) if isinstance(source, (str, Path)) else "volume")
    try:
        yield
    except _Refused as refusal:
        raise ValueError(f"{called}: {refusal}") from None
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise ValueError(f"{called}: {error.strerror}: check the path and your right to read it") from None
    except (EOFError, OSError, zlib.error, HeaderDataError, OverflowError, ValueError, MemoryError) as error:
        raise ValueError(f"{called}: truncated or damaged NIfTI ({' '.join(str(error).split())[:200]}): copy or export it again") from None


@contextlib.contextmanager
def _opened(source: str | Path | bytes) -> Iterator[io.BufferedIOBase]:
    """The file's bytes as a stream, unpacked where they begin as gzip does."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as stream:
        packed = stream.read(len(GZIP)) == GZIP
        stream.seek(0)
        with gzip.GzipFile(fileobj=stream) if packed else contextlib.nullcontext(stream) as unpacked:
            yield unpacked


def _read_header(stream: io.BufferedIOBase) -> Header:
    start = stream.read(nibabel.Nifti2Header.sizeof_hdr)
    for kind, at in ((nibabel.Nifti1Header, 344), (nibabel.Nifti2Header, 4)):
        if start[at : at + 4] == kind.single_magic.ljust(4, b"\0")[:4]:
            header = kind(start[: kind.sizeof_hdr], check=False)
            # nibabel mends what it can and would log each mending.
            header.check_fix(logger=logging.Logger("unheard", logging.CRITICAL + 1))
            return header
    if start[344:348] in (b"ni1\0", b"ni2\0"):
        raise _Refused("half of a .hdr and .img pair: convert it to one .nii.gz file")
    raise _Refused("not a NIfTI file: give a .nii or .nii.gz")


def _grid(header: Header) -> Grid:
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1:
        raise _Refused(f"an image of {'x'.join(map(str, shape))}: a volume has three axes; split a series of volumes into a file each")
    affine = np.array(header.get_best_affine(), np.float64)
    affine[:3] *= MM_PER_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > FLATTEST * edges.prod():
        raise _Refused(
            f"its affine {np.round(affine[:3], 4).tolist()} is singular or not finite: the header is damaged, convert the original again"
        )
    return Grid((shape[2], shape[1], shape[0]), RAS_TO_LPS @ affine[:, [2, 1, 0, 3]])


def _stored(header: Header, stream: io.BufferedIOBase, shape: tuple[int, int, int]) -> np.ndarray:
    """The numbers as they are in the file, (slices, rows, columns)."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise _Refused(f"its values are of type {header.get_value_label('datatype')}: save one plain number a voxel, such as int16")
    offset, size = header.get_data_offset(), int(np.prod(shape, dtype=object)) * dtype.itemsize
    if offset + size > MOST_BYTES:
        raise _Refused(f"declares {(offset + size) / 1e9:.0f} GB of values: it is damaged, or should be cut to the chest")
    stream.seek(offset)
    values = np.empty(shape, dtype)
    # Slice by slice: unpacking all at once would hold all of it twice.
    for plane in values:
        if stream.readinto(plane.data) < plane.nbytes:
            raise EOFError("it ends before its values do")
    # At the end of a packed file its checksum is compared.
    stream.read(1)
    return values


def _scaled(stored: np.ndarray, slope_intercept: tuple[float | None, float | None]) -> np.ndarray:
    slope, intercept = slope_intercept[0] or 1.0, slope_intercept[1] or 0.0
    whole = stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    if stored.dtype == np.int16 and stored.dtype.isnative and (slope, intercept) == (1, 0):
        return stored
    values = np.empty(stored.shape, np.int16 if whole else np.float32)
    limits = np.iinfo(np.int16) if whole else np.finfo(np.float32)
    for found, target in zip(stored, values, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = found.astype(np.float64) * slope + intercept
        low, high = scaled.min(), scaled.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise _Refused("holds NaN or infinite values: replace them, outside the scan by -1024 HU")
        if low < limits.min or high > limits.max:
            raise _Refused(
                f"holds values from {low:g} to {high:g}: HU fit 16 bits with a sign; was it saved without one? Convert the original again"
            )
        target[...] = scaled
    return values


def _perpendicular(affine: np.ndarray) -> bool:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return all(abs(a @ b) < SQUARE for a, b in itertools.combinations(directions.T, 2))
