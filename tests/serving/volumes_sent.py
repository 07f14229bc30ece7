"""Volumes as callers send them: NIfTI, series, zips, forms; whole ones and those that must be refused."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
from urllib3.filepost import encode_multipart_formdata

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.dicom.write_series import write_series
from chestseg.nifti import write_nifti
from tests.inference.tiny_volume import SPACING, chest

BOUNDARY = "chestseg-test-boundary"
HU = chest()[0]
SCAN = Volume(HU, Grid.upright(HU.shape, SPACING))  # type: ignore[arg-type]


def nifti(folder: Path, scan: Volume = SCAN, name: str = "scan.nii.gz") -> bytes:
    write_nifti(folder / name, scan)
    return (folder / name).read_bytes()


def series(folder: Path, scan: Volume = SCAN, number: int = 1) -> list[Path]:
    uid = f"1.2.826.0.1.3680043.9.{number}"
    return write_series(folder, scan, patient_id="Smith^Jane", study_uid="1.2.826.0.1.3680043.8", series_uid=uid, series_number=number)


def nothing_but_body(folder: Path) -> bytes:
    """A volume that takes seconds, since all of it but a voxel of air is looked at."""
    values = np.full((96, 128, 128), 40, np.int16)
    values[0, 0, 0] = -1000
    return nifti(folder, Volume(values, Grid.upright(values.shape, SPACING)))  # type: ignore[arg-type]


def zipped(members: Iterable[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def form(files: Iterable[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A multipart body and its content type."""
    return encode_multipart_formdata([("files", file) for file in files], BOUNDARY)


def contents(paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in paths]


def refused(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Bodies that are no volume to segment, and a word of what must be said of each."""
    whole = nifti(folder)
    files = contents(series(folder / "dicom"))
    other = contents(series(folder / "other", number=2))
    time = nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.int16), np.eye(4)).to_bytes()
    return {
        "nothing": (b"", "no file"),
        "text": (b"hello" * 100, "not a NIfTI"),
        "four dimensions": (time, "three axes"),
        "zip that leads out": (zipped([("../../Smith_Jane.dcm", files[0][1])]), "leads out"),
        "nested zip": (zipped([("inner.zip", zipped(files))]), "no CT series"),
        "zip of a NIfTI": (zipped([("scan.nii.gz", whole)]), "no CT series"),
        "empty zip": (zipped([("folder/", b"")]), "no CT series"),
        "damaged zip": (zipped(files)[:-30], "damaged zip"),
        "missing slice": (zipped(files[:9] + files[10:]), "missing"),
        "two series": (zipped([*files, *((f"b{name}", content) for name, content in other)]), "2 CT series"),
        "single slice": (zipped(files[:1]), "single slice"),
        "truncated DICOM": (files[0][1][:200], "no CT series"),
    }
