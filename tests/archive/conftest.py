"""One Orthanc for the tests of the archive, empty for each of them, and two small models."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import Bundle, save_bundle
from chestseg.config import Postprocessing
from chestseg.dicom.write import write_radiograph
from chestseg.dicom.write_series import write_series
from tests import orthanc
from tests.inference import tiny_volume
from tests.inference.tiny import tiny_network, tiny_spec


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower with several threads, much slower where other processes compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def orthanc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for an Orthanc, where there can be one; in CI there must."""
    reason = orthanc.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return tmp_path_factory.mktemp("orthanc")


@pytest.fixture(scope="session")
def running(orthanc_folder: Path) -> Iterator[orthanc.Orthanc]:
    with orthanc.orthanc(orthanc_folder) as server:
        yield server


@pytest.fixture
def archive(running: orthanc.Orthanc) -> orthanc.Orthanc:
    running.clear()
    return running


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It finds something in noise."""
    spec = tiny_spec(rule=Postprocessing(threshold=0.45))
    return save_bundle(tmp_path_factory.mktemp("model") / "cxr", spec, tiny_network().state_dict())


@pytest.fixture(scope="session")
def blind_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It finds nothing."""
    spec = tiny_spec(rule=Postprocessing(threshold=0.999))
    return save_bundle(tmp_path_factory.mktemp("model") / "blind", spec, tiny_network().state_dict())


@pytest.fixture(scope="session")
def ct_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_bundle(tmp_path_factory.mktemp("model") / "ct", tiny_volume.tiny_spec(), tiny_volume.tiny_network().state_dict())


def film(path: Path, number: int = 1, *, study: int = 1, jpeg: bool = False, view: str = "PA") -> Path:
    """A radiograph of noise without a frame of reference, as SIIM-ACR's have none; each of its own series."""
    pixels = np.random.default_rng(number).integers(0, 256, (96, 80), dtype=np.uint8)
    write_radiograph(
        path / f"{study}-{number}.dcm", pixels, patient_id=f"p{study}", study_uid=f"2.25.{study}", series_uid=f"2.25.{study}.{number}",
        sop_uid=f"2.25.{study}.{number}.1", view=view, jpeg_quality=90 if jpeg else None,
    )  # fmt: skip
    return path / f"{study}-{number}.dcm"


def scan(folder: Path, study: int = 9) -> list[Path]:
    """The files of a CT of a chest, acquired from the feet up and mirrored, so that its order of axes is none that is usual."""
    hu, _, _ = tiny_volume.chest()
    affine = Grid.upright(hu.shape, tiny_volume.SPACING).affine.copy()
    for axis in (0, 2):
        affine[:3, 3] += affine[:3, axis] * (hu.shape[axis] - 1)
        affine[:3, axis] *= -1
    volume = Volume(np.ascontiguousarray(hu[::-1, :, ::-1]), Grid(hu.shape, affine))
    return write_series(folder, volume, patient_id=f"p{study}", study_uid=f"2.25.{study}", series_uid=f"2.25.{study}.1")
