"""Stored values to what a display shows: modality LUT, VOI LUT or window, photometric interpretation, padding.

Every step maps one value to one value, so the chain is computed once for each value a pixel can take and then looked up.
The order is that of PS3.4 annex N.2; MONOCHROME1 is inverted last and once, whatever sign a rescale slope has.
"""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from chestseg.dicom.source import Refused

TAILS = 0.005
"""Share of the pixels let go at either end where nothing says what range to show: markers, bare beam, dead pixels."""


def display(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Grey levels as a viewer first shows the image, bright where the body is dense.

    A VOI LUT is preferred to a window, the first of several is taken. Without a usable one, 8 bits are shown whole, so that such
    files keep their values, and more bits from the 0.5th to the 99.5th percentile: detectors seldom fill the bits they declare.

    Args:
        stored: (H, W), 8 or 16 bits, signed or not.
        dataset: the image's DICOM attributes.

    Returns:
        (H, W) uint8. Padding (PS3.3 C.7.5.1.1.2) is 0 and plays no part in the percentiles.
    """
    codes, values = _codes(stored)
    padding = _padding(values, dataset)
    modality = _modality(values.astype(np.float64), dataset)
    shown = _voi(modality, dataset)
    if shown is None and dataset.BitsStored == 8:
        lowest = -128 if dataset.PixelRepresentation else 0
        whole = modality[(values >= lowest) & (values < lowest + 256)]
        shown = _ramp(modality, whole.min(), whole.max())
    elif shown is None:
        shown = _ramp(modality, *_percentiles(modality, _counts(codes, padding)))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    levels = np.where(padding, 0, np.rint(255 * shown)).astype(np.uint8)
    return levels[codes]


def stretch(picture: np.ndarray) -> np.ndarray:
    """Grey levels (H, W) uint8 of a picture without DICOM attributes: 8 bits as they are, 16 bits by percentiles as in `display`."""
    if picture.dtype == np.uint8:
        return picture
    codes, values = _codes(picture)
    shown = _ramp(values.astype(np.float64), *_percentiles(values, _counts(codes, np.zeros(values.size, bool))))
    return np.rint(255 * shown).astype(np.uint8)[codes]


def _codes(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels as indices into a table, and the value each place in the table stands for."""
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    values = np.arange(256**stored.dtype.itemsize).astype(unsigned).view(stored.dtype)
    return stored.view(unsigned), values


def _counts(codes: np.ndarray, padding: np.ndarray) -> np.ndarray:
    return np.where(padding, 0, np.bincount(codes.ravel(), minlength=padding.size))


def _padding(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Which values are padding: one, or a range (PS3.3 C.7.5.1.1.2). They are stored values, often written with the wrong sign."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(values.size, bool)
    last = dataset.get("PixelPaddingRangeLimit")
    ends = np.array([first, first if last is None else last], np.int64).astype(values.dtype)
    return (values >= ends.min()) & (values <= ends.max())


def _modality(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Modality LUT, or slope and intercept (PS3.3 C.11.1)."""
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        return _look_up(values, sequence[0])[0]
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope == 0:
        raise Refused("RescaleSlope is 0, which makes all pixels equal: export the image again")
    return values * (1 if slope is None else slope) + (intercept or 0)


def _voi(values: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Share of full brightness, 0..1, by VOI LUT or window (PS3.3 C.11.2); None where the file has neither."""
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        entries, bits = _look_up(values, sequence[0])
        return np.clip(entries / (2**bits - 1), 0, 1)
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    return _window(values, centre, width, str(dataset.get("VOILUTFunction") or "LINEAR"))


def _window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray | None:
    """The three window functions of PS3.3 C.11.2.1.2 and C.11.2.1.3; None for a width that makes no window."""
    if width <= 0 or (function == "LINEAR" and width < 1):
        return None
    if function == "LINEAR":
        return _ramp(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)
    if function == "LINEAR_EXACT":
        return _ramp(values, centre - width / 2, centre + width / 2)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    raise Refused(f"VOI LUT Function {function!r} is none of LINEAR, LINEAR_EXACT and SIGMOID: export the image again")


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high`, straight between; a step where they are equal."""
    if high <= low:
        return (values > low).astype(np.float64)
    return np.clip((values - low) / (high - low), 0, 1)


def _percentiles(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order])
    last = cumulative[-1] - 1
    ends = np.searchsorted(cumulative, [TAILS * last, (1 - TAILS) * last], side="right")
    low, high = values[order[np.minimum(ends, values.size - 1)]]
    return float(low), float(high)


def _look_up(values: np.ndarray, item: Dataset) -> tuple[np.ndarray, int]:
    """Entries of a LUT for `values`, and the bits of an entry (PS3.3 C.11.1.1.1: number of entries, first value mapped, bits)."""
    number, first, bits = (int(part) for part in item.LUTDescriptor)
    # 0 stands for 65536, and signed pixels make pydicom read large numbers as negative ones.
    number = number % 2**16 or 2**16
    data: Any = item.LUTData
    if isinstance(data, bytes):
        word = ">u2" if item.original_encoding[1] is False else "<u2"
        # Entries of 8 bits may be packed two to a word.
        data = np.frombuffer(data, word if len(data) >= 2 * number else np.uint8)
    entries = np.atleast_1d(np.asarray(data, np.float64))[:number]
    if not (entries.size and 1 <= bits <= 16):
        raise Refused(f"look-up table of {entries.size} entries of {bits} bits cannot be applied: export the image again")
    return entries[np.clip(values - first, 0, entries.size - 1).astype(np.int64)], bits


def _number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of a decimal attribute; None where it is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    if value is None or value == "":
        return None
    if not np.isfinite(float(value)):
        raise Refused(f"{keyword} is {value}: export the image again")
    return float(value)
