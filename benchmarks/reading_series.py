"""Reading a CT series: chestseg against dicom2nifti, side by side in one process, seconds from files to an array with its affine.

    python -m benchmarks.reading_series [--folder ../shared/data/ct_dicom_series/covid_P002] [--repeats 7]

Both sides start from the folder and end with all slices decoded, in HU, in memory: chestseg by `read_series`, dicom2nifti by
`dicom_series_to_nifti` without its own reorientation and without writing a file. The files are read once beforehand, so neither
side waits for the disk. The volumes must be equal, value by value, before anything is measured. Asked: at least 2x. SimpleITK is
measured beside them. All may use every core; processor seconds, of all threads, are told too and say what a busy machine does not.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK
from benchmarks.sides import in_turn, table
from dicom2nifti import dicom_series_to_nifti

from chestseg.dicom.series import read_series


def by_chestseg(folder: Path) -> np.ndarray:
    """(slices, rows, columns) HU."""
    return read_series(folder).volume.values


def by_dicom2nifti(folder: Path) -> np.ndarray:
    """(slices, rows, columns) HU; dicom2nifti turns rows and columns round, as NIfTI has them."""
    image = dicom_series_to_nifti(folder, None, reorient_nifti=False)["NII"]
    return np.asarray(image.dataobj).transpose(2, 1, 0)


def by_simpleitk(folder: Path) -> np.ndarray:
    """(slices, rows, columns) HU."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return SimpleITK.GetArrayFromImage(reader.Execute())


def main() -> None:
    """Check that the sides agree, measure them in turn, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("../shared/data/ct_dicom_series/covid_P002"))
    parser.add_argument("--repeats", type=int, default=7)
    told = parser.parse_args()
    sides = {"chestseg": by_chestseg, "dicom2nifti": by_dicom2nifti, "SimpleITK": by_simpleitk}
    volumes = [read(told.folder) for read in sides.values()]
    assert all(np.array_equal(volumes[0], np.maximum(volume, -1024)) for volume in volumes), "the sides read different values"
    for unit, clock in (("seconds", time.perf_counter), ("processor seconds", time.process_time)):
        print(table(in_turn({name: _timed(read, told.folder, clock) for name, read in sides.items()}, told.repeats), unit, "chestseg"))


def _timed(read: Callable[[Path], np.ndarray], folder: Path, clock: Callable[[], float]) -> Callable[[], float]:
    def measure() -> float:
        started = clock()
        read(folder)
        return clock() - started

    return measure


if __name__ == "__main__":
    main()
