"""The endpoint for radiographs over HTTP: what it answers is what `predict` says, and what it refuses it says why."""

import io
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import ray
from highdicom.seg import segread

from chestseg.archive.segmenting import Segmenter
from chestseg.bundle import Bundle
from chestseg.cli.predict import run as predict
from chestseg.config.serving import CxrServing
from chestseg.dicom.write import write_radiograph
from chestseg.serving.radiographs import radiographs
from tests.serving.mutants import check, png_that_declares
from tests.serving.mutants import radiographs as mutants
from tests.serving.served import ServePort, tiny_bundle

pytestmark = pytest.mark.ray

TOKEN, SELDOM = "t" * 32, "s" * 32
SPACING = (1.25, 1.25)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text(f"ward: {TOKEN}\nseldom: {{token: {SELDOM}, rate: 1}}\n")
    return path


@pytest.fixture(scope="module")
def client(serve_port: ServePort, bundle: Bundle, tokens: Path) -> Iterator[httpx.Client]:
    settings = CxrServing.model_validate(
        {
            "model": str(bundle.folder),
            "tokens": str(tokens),
            "batch": {"size": 4, "ahead": 1},
            "limits": {"body_mb": 2, "queued": 4, "retry_after_s": 3},
            "compute": {"device": "cpu"},
        }
    )
    with serve_port.running(radiographs(settings), "cxr") as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A DICOM with a credible spacing, one without, a PNG and a JPEG."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (240, 200), dtype=np.uint8), (0, 0), 5)
    pixels = cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for name, spacing in (("dicom", SPACING), ("incredible", (0.1, 0.1))):
        uids = {f"{key}_uid": f"2.25.{place}" for place, key in enumerate(("study", "series", "sop"), 1)}
        write_radiograph(folder / f"{name}.dcm", pixels, patient_id="Secret^Name", spacing_mm=spacing, **uids)
    cv2.imwrite(str(folder / "png.png"), pixels)
    cv2.imwrite(str(folder / "jpeg.jpg"), pixels)
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def offline(bundle: Bundle, pictures: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offline")
    assert (
        predict([str(path) for path in pictures.values()], str(bundle.folder), str(folder), ("json", "png", "overlay"), device="cpu") == 0
    )
    return folder


@pytest.mark.parametrize("name", ["dicom", "incredible", "png", "jpeg"])
def test_json_says_what_predict_says(client: httpx.Client, pictures: dict[str, Path], offline: Path, bundle: Bundle, name: str) -> None:
    answer = client.post("v1/segment", content=pictures[name].read_bytes())
    assert answer.status_code == 200, answer.text
    said, expected = answer.json(), json.loads((offline / "cases" / f"{name}.json").read_text())
    assert {key: said[key] for key in expected if key not in ("case", "source", "model")} == {
        key: value for key, value in expected.items() if key not in ("case", "source", "model")
    }
    assert said["model"] == {"name": "tiny", "version": None, "run_id": None, "digest": bundle.digest}
    assert (said["area_cm2"] is not None) == (name == "dicom")
    assert set(said["timings_ms"]) == {"read", "decode", "preprocess", "handover", "queue", "model", "postprocess"}
    assert said["request_id"] == answer.headers["X-Request-ID"]


def test_a_form_is_as_good_as_a_body(client: httpx.Client, pictures: dict[str, Path]) -> None:
    raw = client.post("v1/segment", content=pictures["dicom"].read_bytes()).json()
    with pictures["dicom"].open("rb") as file:
        form = client.post("v1/segment", files={"file": ("../../etc/passwd", file)}).json()
    assert {key: form[key] for key in ("rle", "probability", "model")} == {key: raw[key] for key in ("rle", "probability", "model")}


def test_masks_and_overlays_are_those_of_predict(client: httpx.Client, pictures: dict[str, Path], offline: Path) -> None:
    data = pictures["dicom"].read_bytes()
    mask = client.post("v1/segment", content=data, headers={"Accept": "image/png"})
    assert (mask.headers["content-type"], mask.headers["x-model"].split("/")[0]) == ("image/png", "tiny")
    assert mask.content == (offline / "masks" / "dicom.png").read_bytes()
    shown = client.post("v1/segment?format=overlay", content=data)
    assert shown.content == (offline / "overlays" / "dicom.png").read_bytes()


def test_a_segmentation_refers_to_its_source(client: httpx.Client, pictures: dict[str, Path], offline: Path, bundle: Bundle) -> None:
    answer = client.post("v1/segment", content=pictures["dicom"].read_bytes(), headers={"Accept": "application/dicom"})
    assert answer.headers["content-type"] == "application/dicom"
    segmentation = segread(io.BytesIO(answer.content))
    # As `chestseg dicomweb` names it, so that an archive that has one of theirs knows this for the same.
    named = Segmenter(bundle, device="cpu").result_uid(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
    assert (segmentation.StudyInstanceUID, segmentation.SeriesInstanceUID) == ("2.25.1", named)
    mask = cv2.imread(str(offline / "masks" / "dicom.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None and (np.squeeze(segmentation.pixel_array) * 255 == mask).all()
    refused = client.post("v1/segment?format=dicom", content=pictures["png"].read_bytes())
    assert refused.status_code == 422 and "refers to a DICOM image" in refused.json()["error"]["message"]


def test_requests_that_come_together_are_computed_together(client: httpx.Client, pictures: dict[str, Path]) -> None:
    data = pictures["png"].read_bytes()
    alone = client.post("v1/segment", content=data).json()
    with ThreadPoolExecutor(4) as pool:
        answers = [answer.json() for answer in pool.map(lambda _: client.post("v1/segment", content=data), range(32))]
    assert max(answer["batch"] for answer in answers if "batch" in answer) > 1
    assert {answer["rle"] for answer in answers if "rle" in answer} == {alone["rle"]}


def test_too_many_at_once_are_told_to_come_again(client: httpx.Client, pictures: dict[str, Path]) -> None:
    data = pictures["dicom"].read_bytes()
    with ThreadPoolExecutor(48) as pool:
        answers = list(pool.map(lambda _: client.post("v1/segment", content=data), range(96)))
    codes = {answer.status_code for answer in answers}
    assert codes == {200, 429}
    # Ours are JSON; what Serve's proxy turns away by itself, when the front is full too, is a line of text.
    assert {answer.headers.get("Retry-After") for answer in answers if answer.status_code == 429} == {"3"}


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "empty"),
        (b"%PDF-1.7 and more of it", 415, "neither DICOM nor PNG nor JPEG"),
        ("cut", 422, "damaged|cut short|pixel data"),
        (png_that_declares(60_000, 60_000), 422, "more than any radiograph has|damaged"),
        (bytes(2_000_001), 413, "larger than 2 MB"),
        (iter([bytes(1_000_000)] * 3), 413, "larger than 2 MB"),
    ],
    ids=["empty", "pdf", "truncated", "bomb", "too large", "too large, length not told"],
)
def test_what_cannot_be_answered(client: httpx.Client, pictures: dict[str, Path], content: bytes | str, status: int, says: str) -> None:
    body = pictures["dicom"].read_bytes()[:20_000] if content == "cut" else content
    answer = client.post("v1/segment", content=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert re.search(says, error["message"]) and error["request_id"] == answer.headers["X-Request-ID"]


def test_a_hundred_mutants_are_answered(client: httpx.Client, pictures: dict[str, Path]) -> None:
    """`python -m benchmarks.serving_mutants` sends ten thousand."""
    sound = [pictures[name].read_bytes() for name in ("dicom", "png", "jpeg")]
    with ThreadPoolExecutor(4) as pool:
        sent = list(mutants(sound, 100))
        answers = list(pool.map(lambda mutant: client.post("v1/segment", content=mutant.body), sent))
    for mutant, answer in zip(sent, answers, strict=True):
        check(mutant, answer.status_code, answer.json())


def test_forms_and_formats_that_are_none(client: httpx.Client, pictures: dict[str, Path]) -> None:
    data = pictures["png"].read_bytes()
    assert client.post("v1/segment", data={"file": "text"}, files={"other": b"x"}).status_code == 400
    assert client.post("v1/segment", content=data, headers={"Accept": "text/html"}).status_code == 406
    assert client.post("v1/segment?format=gif", content=data).status_code == 400
    assert client.get("v1/segment").status_code == 405
    assert client.get("v1/nothing").json()["error"]["code"] == "not_found"


def test_request_ids_are_taken_over_when_they_are_harmless(client: httpx.Client) -> None:
    for sent, taken in (("ward-7_1", True), ("a b", False), ("x" * 200, False)):
        answer = client.get("v1/nothing", headers={"X-Request-ID": sent})
        assert (answer.json()["error"]["request_id"] == sent) == taken
        assert answer.headers.get_list("X-Request-ID") == [sent]


def test_no_route_answers_without_a_token(client: httpx.Client) -> None:
    described = client.get("openapi.json").json()
    assert {"/v1/segment", "/v1/models"} <= set(described["paths"])
    for path, operations in described["paths"].items():
        for method in operations:
            for authorization in ("", "Bearer wrong", f"Basic {TOKEN}", "Bearer " + TOKEN[:-1]):
                answer = client.request(method, path.lstrip("/"), headers={"Authorization": authorization})
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("openapi.json", headers={"Authorization": ""}).status_code == 401
    assert client.get("docs", headers={"Authorization": TOKEN}).status_code == 401
    for open_path in ("healthz", "readyz"):
        assert client.get(open_path, headers={"Authorization": ""}).status_code == 200


def test_a_token_may_have_a_rate(client: httpx.Client) -> None:
    seldom = {"Authorization": f"Bearer {SELDOM}"}
    assert client.get("v1/models", headers=seldom).status_code == 200
    again = client.get("v1/models", headers=seldom)
    assert again.status_code == 429 and 0 < int(again.headers["Retry-After"]) <= 61


def test_tokens_change_without_a_restart(client: httpx.Client, tokens: Path) -> None:
    before, new = tokens.read_text(), "n" * 32
    tokens.write_text(before + f"new: {new}\n")
    assert client.get("v1/models", headers={"Authorization": f"Bearer {new}"}).status_code == 200
    tokens.write_text("not: [tokens")
    assert client.get("v1/models", headers={"Authorization": f"Bearer {new}"}).status_code == 200
    tokens.write_text(before)
    assert client.get("v1/models", headers={"Authorization": f"Bearer {new}"}).status_code == 401


def test_the_model_is_told(client: httpx.Client, bundle: Bundle) -> None:
    told = client.get("v1/models").json()
    assert told["champion"] == {"name": "tiny", "version": None, "run_id": None, "digest": bundle.digest, "size": 64}
    assert told["candidate"] is None and told["refused"] == {} and told["device"] == "cpu"


@pytest.mark.slow
def test_prometheus_reads_what_happened(client: httpx.Client, pictures: dict[str, Path]) -> None:
    client.post("v1/segment", content=pictures["png"].read_bytes())
    [node] = ray.nodes()
    wanted = {"requests_total", "step_seconds_bucket", "batch_size_sum", "queue", "model_version", "answers_total"}
    deadline = time.monotonic() + 60
    # Ray gathers every ten seconds.
    while True:
        exported = httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", trust_env=False).text
        found = set(re.findall(r"^ray_chestseg_(\w+)\{", exported, re.MULTILINE))
        if wanted <= found or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert wanted <= found and not {"requests", "positives", "answers"} & found
    steps = set(re.findall(r'ray_chestseg_step_seconds_count\{[^}]*step="(\w+)"', exported, re.IGNORECASE))
    assert {"read", "decode", "preprocess", "handover", "queue", "model", "postprocess"} <= steps
    assert 'route="/v1/segment"' in exported and 'code="200"' in exported.replace("Code", "code")
