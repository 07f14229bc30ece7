"""Pixels of many slices to HU, each slice by its own rescale, in threads: the decoders work outside Python's lock."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby

import cv2
import numpy as np
from pydicom.dataset import FileDataset

from chestseg.dicom.dataset import parse_dicom, stored_values
from chestseg.dicom.multiframe import frame_reader
from chestseg.dicom.series_slice import Slice
from chestseg.dicom.source import Refused, naming, read_source

AIR = -1024
"""HU: the lowest CT number of 12 bits. What lies below, such as padding of -2000 or -3024, is outside the scanned field."""
DENSEST = 3071
"""HU: the highest CT number of 12 bits; padding above it cannot be tissue. Values themselves are kept up to what int16 holds."""
MOST_THREADS = 8


def read_pixels(slices: Sequence[Slice], place: Callable[[int, np.ndarray], None], threads: int | None = None) -> None:
    """Decode slices and hand each to `place` with its index, from several threads and in no order; files are opened once.

    Args:
        slices: in the order of their indices.
        place: takes an index and that slice's (rows, columns) int16 HU.
        threads: as many as the process may use, up to 8, when None.

    Raises:
        ValueError: one line that names the file: damaged, cut short, or with no decoder for its transfer syntax.
    """
    threads = threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
    numbered = sorted(enumerate(slices), key=lambda pair: str(pair[1].path))
    with _pydicom_silent(), ThreadPoolExecutor(threads) as pool:
        jobs = []
        for path, group in groupby(numbered, key=lambda pair: pair[1].path):
            members = list(group)
            read = None if members[0][1].frame is None else _enhanced(path)
            jobs += [pool.submit(_read, one, index, place, read) for index, one in members]
        try:
            for job in jobs:
                job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def to_hu(stored: np.ndarray, one: Slice) -> np.ndarray:
    """Stored values to HU by the slice's own rescale: HU = stored * slope + intercept (PS3.3 C.11.1), rounded; padding becomes air.

    Args:
        stored: (rows, columns), 8 or 16 bits, signed or not.
        one: its attributes; without a rescale the stored values are HU.

    Returns:
        (rows, columns) int16, -1024 to 32767.
    """
    signed = stored.dtype.kind == "i"
    codes = stored.astype(np.int16 if signed else np.uint16, copy=False).view(np.uint16)
    hu = np.take(_hu_of_codes(*_rescale(one), signed, one.padding), codes)
    if one.padding and AIR < padding_hu(one) <= DENSEST:
        hu[_touching_the_border((stored >= one.padding[0]) & (stored <= one.padding[1]))] = AIR
    return hu


def padding_hu(one: Slice) -> float:
    """What a slice's padding value would be in HU."""
    assert one.padding is not None
    slope, intercept = _rescale(one)
    return one.padding[0] * slope + intercept


def _rescale(one: Slice) -> tuple[float, float]:
    return 1.0 if one.slope is None else one.slope, one.intercept or 0.0


@lru_cache(maxsize=16)
def _hu_of_codes(slope: float, intercept: float, signed: bool, padding: tuple[int, int] | None) -> np.ndarray:
    """(65536,) int16: the HU of each 16-bit pattern. Padding is air here where it is no tissue's value, which is nearly always."""
    stored = np.arange(2**16, dtype=np.uint16).view(np.int16 if signed else np.uint16).astype(np.float64)
    hu = np.rint(stored * slope + intercept).clip(AIR, np.iinfo(np.int16).max)
    if padding and not AIR < padding[0] * slope + intercept <= DENSEST:
        hu[(stored >= padding[0]) & (stored <= padding[1])] = AIR
    return hu.astype(np.int16)


def _touching_the_border(mask: np.ndarray) -> np.ndarray:
    """The parts of a mask that touch the image's border. A padding value that tissue also has is padding only there."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return mask & np.isin(labels, border)


def _enhanced(path: os.PathLike) -> Callable[[int], FileDataset]:
    data, name = read_source(str(path))
    with naming(name):
        return frame_reader(parse_dicom(data))


def _read(one: Slice, index: int, place: Callable[[int, np.ndarray], None], read: Callable[[int], FileDataset] | None) -> None:
    name = str(one.path)
    with naming(name):
        dataset = parse_dicom(read_source(name)[0]) if read is None or one.frame is None else read(one.frame)
        stored = stored_values(dataset)
        if stored.shape != (one.rows, one.columns):
            raise Refused("changed while it was being read: read it again")
        hu = to_hu(stored, one)
    place(index, hu)


@contextlib.contextmanager
def _pydicom_silent() -> Iterator[None]:
    """Hide pydicom's warnings for as long as threads read: what each of them does to the filters ends inside this block."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        yield
