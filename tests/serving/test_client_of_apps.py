"""The client and `chestseg segment` against started apps: what they write is what `chestseg predict` writes. OpenAPI's examples."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from chestseg.arrays.rle import decode_rle
from chestseg.cli import main
from chestseg.client import Client
from chestseg.config.serving import CxrServing
from chestseg.dicom.write import write_radiograph
from chestseg.serving.radiographs import radiographs
from tests.serving.ct_app import WARD, CtApp, running, settings_for, tiny_ct
from tests.serving.served import ServePort, tiny_bundle
from tests.serving.volumes_sent import nifti, series

pytestmark = pytest.mark.ray

ASIDE = ("case", "source", "model")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(f"{WARD}\n")
    return path


@pytest.fixture(scope="module")
def cxr(serve_port: ServePort, token: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The app's address and its model."""
    folder = tmp_path_factory.mktemp("cxr")
    (folder / "tokens").write_text(f"ward: {WARD}\n")
    model = str(tiny_bundle(folder / "bundle").folder)
    settings = CxrServing.model_validate({"model": model, "tokens": str(folder / "tokens"), "compute.device": "cpu"})
    with serve_port.running(radiographs(settings), "segment-cxr") as client:
        yield str(client.base_url), model


@pytest.fixture(scope="module")
def ct(serve_port: ServePort, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CtApp, str]]:
    model = str(tiny_ct(tmp_path_factory.mktemp("ct") / "bundle").folder)
    with running(serve_port, settings_for(model, tmp_path_factory.mktemp("app")), "segment-ct") as app:
        yield app, model


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(3).integers(0, 256, (90, 70), dtype=np.uint8)
    uids = {f"{key}_uid": f"2.25.{place}" for place, key in enumerate(("study", "series", "sop"), 1)}
    write_radiograph(folder / "a.dcm", pixels, patient_id="Secret^Name", **uids)
    cv2.imwrite(str(folder / "b.png"), pixels[::-1])
    return folder


def complaints(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command wrote to standard error, without what Ray passes on from the apps' logs."""
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("\x1b", "("))]


def same_files(one: Path, other: Path, folder: str) -> bool:
    names = sorted(path.name for path in (one / folder).iterdir())
    return names == sorted(path.name for path in (other / folder).iterdir()) and all(
        (one / folder / name).read_bytes() == (other / folder / name).read_bytes() for name in names
    )


def test_radiographs_are_written_as_predict_writes_them(
    cxr: tuple[str, str], images: Path, token: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, model = cxr
    asked = ["segment", str(images), "--url", url, "--token-file", str(token), "--format", "json,png,overlay"]
    assert main([*asked, "--output", str(tmp_path / "out")]) == 0
    assert "2 of 2 segmented" in capsys.readouterr().out
    assert (
        main(
            ["predict", str(images), "--model", model, "--output", str(tmp_path / "off"), "--format", "json,png,overlay", "--device", "cpu"]
        )
        == 0
    )
    assert same_files(tmp_path / "out", tmp_path / "off", "masks") and same_files(tmp_path / "out", tmp_path / "off", "overlays")
    for path in (tmp_path / "off" / "cases").iterdir():
        expected, said = json.loads(path.read_text()), json.loads((tmp_path / "out" / "cases" / path.name).read_text())
        assert {key: said[key] for key in expected if key != "model"} == {key: value for key, value in expected.items() if key != "model"}


def test_what_is_refused_is_named_and_the_rest_is_done(
    cxr: tuple[str, str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHESTSEG_TOKEN", WARD)
    asked = ["segment", str(images / "a.dcm"), str(images / "b.png"), "--url", cxr[0], "--output", str(tmp_path), "--format", "dicom"]
    assert main(asked) == 1
    [line] = complaints(capsys)
    assert line.startswith(f"{images / 'b.png'}: ") and "refers to a DICOM image" in line
    assert (tmp_path / "segmentations" / "a.dcm").read_bytes()[128:132] == b"DICM"
    for more, said in ((["--format", "nifti"], "this endpoint answers json"), (["--at-once", "0"], "at least one")):
        assert main([*asked, *more]) == 2
        assert said in complaints(capsys)[0]


def test_a_wrong_token_and_a_wrong_address_are_one_line(
    cxr: tuple[str, str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CHESTSEG_TOKEN", raising=False)
    for url, said in (
        (cxr[0], "show a token"),
        ("http://127.0.0.1:1/cxr", "can't be reached"),
        ("chest.example", "give the app's address"),
    ):
        assert main(["segment", str(images), "--url", url, "--output", str(tmp_path)]) == 2
        [line] = complaints(capsys)
        assert said in line


def test_volumes_are_written_as_predict_writes_them(ct: tuple[CtApp, str], token: Path, tmp_path: Path) -> None:
    app, model = ct
    (tmp_path / "in").mkdir()
    nifti(tmp_path / "in")
    series(tmp_path / "in" / "series", number=21)
    asked = [
        "segment",
        str(tmp_path / "in" / "scan.nii.gz"),
        str(tmp_path / "in" / "series"),
        "--url",
        str(app.client.base_url),
        "--token-file",
        str(token),
    ]
    assert main([*asked, "--output", str(tmp_path / "out")]) == 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(["predict", *asked[1:3], "--model", model, "--output", str(tmp_path / "off")]) == 0
    finally:
        torch.set_num_threads(threads)
    assert same_files(tmp_path / "out", tmp_path / "off", "masks")
    for path in (tmp_path / "off" / "cases").iterdir():
        expected, said = json.loads(path.read_text()), json.loads((tmp_path / "out" / "cases" / path.name).read_text())
        assert {key: said[key] for key in expected if key not in ASIDE} == {key: expected[key] for key in expected if key not in ASIDE}


def test_a_client_follows_and_cancels_a_job(ct: tuple[CtApp, str], tmp_path: Path) -> None:
    client, told = Client(str(ct[0].client.base_url), WARD), []
    assert client.track() == "ct" and client.models()["champion"]["name"] == "tiny-ct"
    job = client.submit(nifti(tmp_path))
    done = client.wait(job["id"], told=told.append)
    assert done["state"] == "done" and told[-1]["tiles"]["done"] == told[-1]["tiles"]["of"] > 0
    assert client.result(job["id"], "nifti").body[:2] == b"\x1f\x8b" and client.result(job["id"]).json() == done["result"]
    client.cancel(job["id"])
    with pytest.raises(ValueError, match="no such job"):
        client.job(job["id"])


def example_of(document: dict, name: str) -> dict:
    """An answer put together from the examples of its fields."""
    return {
        key: field["examples"][0] for key, field in document["components"]["schemas"][name]["properties"].items() if "examples" in field
    }


def test_examples_of_radiographs_are_true(cxr: tuple[str, str], images: Path) -> None:
    client = Client(cxr[0], WARD)
    document = client.ask("openapi.json").json()
    example = example_of(document, "Segmentation")
    mask = decode_rle([example["rle"]], (example["height"], example["width"]))
    assert mask.sum() == example["area_px"] and example["present"] and 0 <= example["probability"] <= 1
    said = client.ask("v1/segment?picture=true", "POST", images / "a.dcm").json()
    assert (
        set(said) == set(example) and set(said["model"]) == set(example["model"]) and set(said["timings_ms"]) >= set(example["timings_ms"])
    )
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(said["picture"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown is not None and shown.shape == (said["height"], said["width"]) and shown.dtype == np.uint8
    models = document["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert set(models) == set(client.models()) and set(models["champion"]) == set(client.models()["champion"])


def test_examples_of_volumes_are_true(ct: tuple[CtApp, str], tmp_path: Path) -> None:
    client = Client(str(ct[0].client.base_url), WARD)
    document = client.ask("openapi.json").json()
    example = example_of(document, "JobAnswer")
    slices, rows, columns = example["result"]["shape"]
    assert example["voxels"] == slices * rows * columns and example["slices"] == slices and example["links"]["self"].endswith(example["id"])
    assert round(example["result"]["volume_ml"] / example["result"]["lung_ml"], 4) == example["result"]["lung_share"]
    done = client.wait(client.submit(nifti(tmp_path))["id"])
    assert (
        set(done) > set(example) - {"error"}
        and set(done["result"]) == set(example["result"])
        and set(done["model"]) == set(example["model"])
    )
    models = document["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert set(models) == set(client.models()) and set(models["champion"]) == set(client.models()["champion"])
