"""A small data set in SIIM-ACR's layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chestseg.dicom.write import write_radiograph

PREFIX = "1.2.3."
EDGE = 32


@pytest.fixture
def siim(tmp_path: Path) -> Callable[..., Path]:
    """`siim(table, ids)` writes DICOM files of 32x32 pixels, `train-rle.csv` with those rows below its header, and gives the folder."""

    def write(table: str | None, ids: str = "12345", tree: str = "dicom-images-train") -> Path:
        for i in ids:
            uid, level = f"{PREFIX}{i}", tmp_path / "archive" / tree / f"study-{i}" / "series"
            pixels = np.full((EDGE, EDGE), ord(i), np.uint8)
            write_radiograph(level / f"{uid}.dcm", pixels, patient_id=i, study_uid="1.2.4", series_uid="1.2.5", sop_uid=uid)
        if table is not None:
            (tmp_path / "archive" / "train-rle.csv").write_text(f"ImageId, EncodedPixels\n{table}")
        return tmp_path / "archive"

    return write
