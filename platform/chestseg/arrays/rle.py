"""SIIM-ACR's run-length code for masks: gaps and run lengths in turn, down the columns of the image.

Each gap counts the pixels since the end of the run before it, the first one since the image's first pixel (SIIM-ACR Pneumothorax
Segmentation 2019, evaluation page and `mask_functions.py`). `-1` stands for an empty mask; several rows make one mask.
"""

from collections.abc import Sequence

import cv2
import numpy as np

EMPTY = "-1"
SIIM_SHAPE = (1024, 1024)


def decode_rle(rows: Sequence[str], shape: tuple[int, int] = SIIM_SHAPE) -> np.ndarray:
    """The union of run-length coded rows.

    Args:
        rows: `-1` for an empty mask, or `gap length gap length ...`; surrounding spaces do not matter.
        shape: (rows, columns) of the image the code was made for.

    Returns:
        (H, W) uint8 mask of 0 and 1.

    Raises:
        ValueError: a row is not such a code, or runs beyond the image.
    """
    down_columns = np.zeros(shape[0] * shape[1], np.uint8)
    for row in rows:
        edges = np.cumsum(parse_rle(row, shape)).tolist()
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            down_columns[start:end] = 1
    return cv2.transpose(down_columns.reshape(shape[::-1]))


def encode_rle(mask: np.ndarray) -> str:
    """Code a whole mask, (H, W) of any number type with 0 outside, as one row; `-1` when it is empty.

    A run that reaches the last pixel is kept; the challenge's own encoder loses it.
    """
    down_columns = np.pad(cv2.transpose((np.asarray(mask) != 0).view(np.uint8)).reshape(-1), 1)
    edges = np.flatnonzero(down_columns[1:] != down_columns[:-1])
    if not edges.size:
        return EMPTY
    return " ".join(map(str, np.diff(edges, prepend=0)))


def parse_rle(row: str, shape: tuple[int, int] = SIIM_SHAPE) -> np.ndarray:
    """Gaps and run lengths of one row, int64, checked against an image of `shape`; none for `-1`.

    Raises:
        ValueError: as `decode_rle`.
    """
    text = row.strip()
    if text == EMPTY:
        return np.zeros(0, np.int64)
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError(f"run-length code {_shorten(text)!r} is not whole numbers: write `gap length` pairs, or -1 for no mask") from None
    if not numbers.size or numbers.size % 2:
        raise ValueError(f"run-length code {_shorten(text)!r} has {numbers.size} numbers: write `gap length` pairs, or -1 for no mask")
    if (numbers[::2] < 0).any() or (numbers[1::2] < 1).any():
        raise ValueError(f"run-length code {_shorten(text)!r}: gaps are 0 or more and lengths 1 or more: encode the mask again")
    pixels = shape[0] * shape[1]
    # Summed as floats: a sum of damaged numbers may not wrap round to a small one.
    if numbers.sum(dtype=np.float64) > pixels:
        raise ValueError(
            f"run-length code {_shorten(text)!r} ends at pixel {numbers.sum(dtype=np.float64):.0f}, beyond the {pixels} of a "
            f"{shape[0]}x{shape[1]} image: encode the mask at that size"
        )
    return numbers


def _shorten(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:24]}..."
