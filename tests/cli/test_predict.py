"""`chestseg predict`: images in, masks of their own size out, broken ones named and left out."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from chestseg.arrays.rle import decode_rle
from chestseg.bundle import save_bundle
from chestseg.cli import main
from chestseg.cli.predict import run
from tests.inference.tiny import tiny_network, tiny_spec


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_bundle(tmp_path_factory.mktemp("model") / "bundle", tiny_spec(), tiny_network().state_dict()).folder)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name, shape in (("a.png", (90, 70)), ("sub/a.png", (64, 64)), ("b.jpg", (50, 80))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.random.default_rng(len(name)).integers(0, 256, shape, dtype=np.uint8))
    return folder


def test_masks_have_the_size_of_their_images(model: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run([str(images)], model, str(out), ("png", "rle", "json", "overlay"), device="cpu") == 0
    records = {r["source"]: r for r in (json.loads(path.read_text()) for path in (out / "cases").iterdir())}
    assert set(records) == {str(images / name) for name in ("a.png", "sub/a.png", "b.jpg")}
    for source, record in records.items():
        picture, mask = (cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in (source, out / "masks" / f"{record['case']}.png"))
        assert picture is not None and mask is not None
        assert mask.shape == picture.shape == (record["height"], record["width"])
        assert (decode_rle([record["rle"]], mask.shape) * 255 == mask).all() and set(np.unique(mask)) <= {0, 255}
    assert len((out / "rle.csv").read_text().splitlines()) == 4
    assert "3 of 3 images" in capsys.readouterr().out


def test_broken_files_are_named_and_the_others_done(model: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "cut.png").write_bytes((images / "a.png").read_bytes()[:200])
    (images / "empty.dcm").write_bytes(b"")
    named = [str(images), str(images / "absent.dcm")]
    assert run(named, model, str(tmp_path / "out"), ("png",), device="cpu") == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == 3 and all(line.startswith("chestseg: error: ") for line in lines)
    assert [next(name for name in ("cut.png", "empty.dcm", "absent.dcm") if name in line) for line in lines]
    assert "3 of 6 images" in said.out
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 3


def test_mistakes_are_found_before_anything_is_written(model: str, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, finding in (
        (([str(images)], model, str(out), ("gif",)), "format 'gif'"),
        (([str(images / "*.tif")], model, str(out)), "no file matches"),
        (([str(images)], str(tmp_path), str(out)), "no bundle"),
    ):
        with pytest.raises(ValueError, match=finding):
            run(*arguments)
    assert not out.exists()


def test_output_that_is_a_file_is_refused(model: str, images: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png.*: give an --output that can be written"):
        run([str(images / "b.jpg")], model, str(images / "a.png"), ("png",), device="cpu")


def test_many_images_show_progress(model: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        (images / f"{number}.png").write_bytes((images / "a.png").read_bytes())
    assert run([str(images)], model, str(tmp_path / "out"), ("png",), device="cpu") == 0
    assert "23/23" in capsys.readouterr().err


def test_command_line(model: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["predict", str(images / "b.jpg"), "--model", model, "--output", str(tmp_path / "out"), "--format", "png,json"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("1 of 1 images")


def test_real_radiographs(model: str, real_data: Path, tmp_path: Path) -> None:
    files = sorted((real_data / "siim" / "dicom-images-train").rglob("*.dcm"))[:2]
    assert run([str(file) for file in files], model, str(tmp_path), ("png", "json", "rle"), device="cpu") == 0
    for file in files:
        record = json.loads((tmp_path / "cases" / f"{file.stem}.json").read_text())
        assert (record["height"], record["width"]) == (1024, 1024)
        # SIIM's spacing belongs to the image before it was resized to 1024 columns.
        assert record["area_cm2"] is None
    assert [line.split(",")[0] for line in (tmp_path / "rle.csv").read_text().splitlines()[1:]] == [file.stem for file in files]
