"""A mask from a file: PNG, or DICOM with the mask as its pixel values."""

import numpy as np

from chestseg.dicom.dataset import parse_dicom, stored_values
from chestseg.dicom.picture import is_picture, read_picture
from chestseg.dicom.source import ImageFile, Refused, naming, read_source


def read_mask(source: ImageFile, name: str | None = None) -> np.ndarray:
    """Read a mask whose pixels are 0 outside and 1, or 255, inside; stored values count, no display look-up table.

    Returns:
        (H, W) uint8 of 0 and 1.

    Raises:
        ValueError: one line that names the file and what to do: unreadable, colour, or with other values than these.
    """
    data, name = read_source(source, name)
    with naming(name):
        values = read_picture(data) if is_picture(data) else stored_values(parse_dicom(data), least_bits=1)
        inside = np.unique(values[values != 0]).tolist()
        if inside not in ([], [1], [255]):
            shown = ", ".join(map(str, inside[:4])) + (", ..." if len(inside) > 4 else "")
            raise Refused(f"a mask has 0 outside and 1 or 255 inside, this one has {shown}: save it as a PNG of two values")
        return (values != 0).astype(np.uint8)
