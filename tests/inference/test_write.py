"""Results on disk: masks that read back, records that guess nothing, the challenge's table."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from chestseg.arrays.rle import decode_rle
from chestseg.dicom.radiograph import Radiograph
from chestseg.inference.predictor import Prediction
from chestseg.inference.write import FORMATS, Results

MODEL = {"name": "tiny", "digest": "ab" * 32}
IMAGE = np.full((40, 30), 90, np.uint8)


def prediction(rows: int = 10) -> Prediction:
    mask = np.zeros(IMAGE.shape, np.uint8)
    mask[5 : 5 + rows, 3:9] = 1
    return Prediction(mask, 0.8765432, np.zeros((64, 64), np.float32))


def write(folder: Path, formats: tuple[str, ...], spacing: tuple[float, float] | None = None) -> None:
    results = Results(folder, formats, MODEL)
    results.add("a", Path("in/a.dcm"), Radiograph(IMAGE, spacing_mm=spacing), prediction())
    results.add("b, c", Path("in/b, c.dcm"), Radiograph(IMAGE), prediction(rows=0))
    results.close()


def test_every_format_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, FORMATS)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    kinds = {"masks": "png", "overlays": "png", "cases": "json"}
    assert files == {f"{kind}/{name}.{end}" for kind, end in kinds.items() for name in ("a", "b, c")} | {"rle.csv"}


@pytest.mark.parametrize(("form", "left"), [("png", "masks"), ("json", "cases"), ("overlay", "overlays"), ("rle", "rle.csv")])
def test_one_format(tmp_path: Path, form: str, left: str) -> None:
    write(tmp_path, (form,))
    assert [path.name for path in tmp_path.iterdir()] == [left]


def test_mask_reads_back_at_the_source_size(tmp_path: Path) -> None:
    write(tmp_path, ("png",))
    mask = cv2.imread(str(tmp_path / "masks/a.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None and (mask == prediction().mask * 255).all()


def test_overlay_is_orange_on_grey(tmp_path: Path) -> None:
    write(tmp_path, ("overlay",))
    picture = cv2.imread(str(tmp_path / "overlays/a.png"), cv2.IMREAD_UNCHANGED)
    assert picture is not None and picture.shape == (40, 30, 3)
    blue, _, red = picture[10, 5].tolist()
    assert red > 90 > blue and (picture[30:] == 90).all()


def test_record_of_a_case(tmp_path: Path) -> None:
    write(tmp_path, ("json",), spacing=(0.5, 0.4))
    record = json.loads((tmp_path / "cases/a.json").read_text())
    rle = record.pop("rle")
    assert record == {
        "case": "a",
        "source": "in/a.dcm",
        "height": 40,
        "width": 30,
        "probability": 0.876543,
        "present": True,
        "area_px": 60,
        "area_cm2": 0.12,
        "model": MODEL,
    }
    assert (decode_rle([rle], IMAGE.shape) == prediction().mask).all()
    empty = json.loads((tmp_path / "cases/b, c.json").read_text())
    assert (empty["present"], empty["area_px"], empty["area_cm2"], empty["rle"]) == (False, 0, None, "-1")


def test_table_has_the_challenge_header_and_spaces(tmp_path: Path) -> None:
    write(tmp_path, ("rle",))
    lines = (tmp_path / "rle.csv").read_text().splitlines()
    assert lines[0] == "ImageId, EncodedPixels"
    assert lines[1].startswith("a, 125 10 30 10") and lines[2] == '"b, c", -1'


def test_written_again_gives_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path, FORMATS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write(tmp_path, FORMATS)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("formats", [("png", "dicom"), ()])
def test_unknown_format_is_refused(tmp_path: Path, formats: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="choose from png, rle, json, overlay"):
        Results(tmp_path, formats, MODEL)
