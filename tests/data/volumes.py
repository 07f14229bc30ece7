"""Small volumes and masks as NIfTI files."""

from pathlib import Path

import numpy as np

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.config import Source, VolumeData
from chestseg.nifti import write_nifti

SHAPE = (3, 4, 5)
GRID = Grid.upright(SHAPE, (5.0, 0.8, 0.8))
HU = np.linspace(-1000, 400, 60).reshape(SHAPE).astype(np.int16)
GREY = np.linspace(0, 255, 60).reshape(SHAPE).astype(np.int16)
MASK = (HU > 200).astype(np.uint8)


def write_volume(path: Path, values: np.ndarray, grid: Grid = GRID) -> str:
    """Write values as NIfTI, folders and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(values, grid))
    return str(path)


def volume_data(**settings: object) -> VolumeData:
    """The settings a volume is read with."""
    return VolumeData(sources=(Source(reader="nifti_folder", path="p"),), prepared="p", spacings=((5, 1, 1),), **settings)
