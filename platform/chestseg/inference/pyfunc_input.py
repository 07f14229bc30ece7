"""What MLflow's users hand in: lists and tables of files, as bytes or as text."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import pandas as pd

COLUMN = "image"


def listed(model_input: Any) -> list[Any]:
    """The items of a list, an array of objects, or a table's only or `image` column.

    Raises:
        ValueError: something else.
    """
    if isinstance(model_input, pd.DataFrame):
        if COLUMN not in model_input and model_input.shape[1] != 1:
            raise ValueError(f"columns {list(model_input.columns)}: name the one that holds the images {COLUMN!r}")
        return model_input[COLUMN if COLUMN in model_input else model_input.columns[0]].tolist()
    if isinstance(model_input, Iterable) and not isinstance(model_input, (str, bytes, dict)):
        return list(model_input)
    raise ValueError(f"an input of type {type(model_input).__name__}: give an array, a list of arrays, or a list of encoded images")


def encoded(item: Any, place: int) -> bytes:
    """A file's bytes, given as they are or as base64 text; `place` names it in errors.

    Raises:
        ValueError: something else.
    """
    if isinstance(item, (bytes, bytearray)):
        return bytes(item)
    if not isinstance(item, str):
        raise ValueError(f"image {place} is of type {type(item).__name__}: give the file's bytes, or their base64 text")
    try:
        return base64.b64decode(item, validate=True)
    except binascii.Error:
        raise ValueError(f"image {place} is no base64 text: encode the file's bytes") from None
