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
MOST_HU = 2**15 - 1
MOST_THREADS = 8


def read_pixels(slices: Sequence[Slice], place: Callable[[int, np.ndarray], object], threads: int | None = None) -> None:
    """Decode slices and hand the stored values of each to `place`, from several threads and in no order; files are opened once.

    Args:
        slices: in the order of their indices.
        place: takes an index and that slice's (rows, columns) stored values, 8 or 16 bits.
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


def to_hu(stored: np.ndarray, one: Slice, out: np.ndarray | None = None) -> np.ndarray:
    """Stored values to HU by the slice's own rescale: HU = stored * slope + intercept (PS3.3 C.11.1), rounded; padding becomes air.

    Args:
        stored: (rows, columns), 8 or 16 bits, signed or not.
        one: its attributes; without a rescale the stored values are HU.
        out: int16 array to write to; a new one when None.

    Returns:
        (rows, columns) int16, -1024 to 32767.
    """
    signed, (slope, intercept) = stored.dtype.kind == "i", _rescale(one)
    stored = stored.astype(np.int16 if signed else np.uint16, copy=False)
    out = np.empty(stored.shape, np.int16) if out is None else out
    padding_is_low = one.padding is None or one.padding[1] * slope + intercept <= AIR
    if slope == 1 and intercept == np.int64(intercept) and abs(intercept) < 2**15 and padding_is_low:
        return _shifted(stored, int(intercept), out)
    out[...] = _hu_of_codes(slope, intercept, signed, one.padding)[stored.view(np.uint16)]
    if one.padding and AIR < padding_hu(one) <= DENSEST:
        out[_touching_the_border((stored >= one.padding[0]) & (stored <= one.padding[1]))] = AIR
    return out


def _shifted(stored: np.ndarray, intercept: int, out: np.ndarray) -> np.ndarray:
    """`stored + intercept` within the range of HU, without an array beside `out`: what most scanners' values need, in half the time."""
    limits = np.iinfo(stored.dtype)
    np.clip(stored, max(limits.min, AIR - intercept), min(limits.max, MOST_HU - intercept), out=out.view(stored.dtype))
    # Wraps around, to the sum modulo 2**16, which is a value of int16.
    out += np.int16(intercept)
    return out


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
    hu = np.rint(stored * slope + intercept).clip(AIR, MOST_HU)
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


def _read(one: Slice, index: int, place: Callable[[int, np.ndarray], object], read: Callable[[int], FileDataset] | None) -> None:
    name = str(one.path)
    with naming(name):
        dataset = parse_dicom(read_source(name)[0]) if read is None or one.frame is None else read(one.frame)
        stored = stored_values(dataset)
        if stored.shape != (one.rows, one.columns):
            raise Refused("changed while it was being read: read it again")
    place(index, stored)


@contextlib.contextmanager
def _pydicom_silent() -> Iterator[None]:
    """Hide pydicom's warnings for as long as threads read: what each of them does to the filters ends inside this block."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        yield
