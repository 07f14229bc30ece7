"""The CT endpoint on a started Serve: a volume in, a job out, the result that `chestseg predict` gives."""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import highdicom
import numpy as np
import pytest
import torch

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.cli import main
from tests.conftest import Cluster
from tests.serving.ct_app import OTHER, CtApp, kill, replicas_of, running, save_tiny, settings_for
from tests.serving.volumes_sent import SCAN, contents, form, nifti, refused, series, zipped

pytestmark = pytest.mark.ray
MODEL = {"name": "tiny-ct", "version": None, "run_id": None}
ONLY_IN_JOBS = {"lesions", "seg_refused", "model"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="module")
def ct(cluster: Cluster, model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CtApp]:
    with running(settings_for(model, tmp_path_factory.mktemp("ct"), **{"replicas.min": 2, "replicas.max": 2})) as app:
        yield app


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A volume that takes seconds: nothing but body."""
    shape = (96, 128, 128)
    return nifti(tmp_path_factory.mktemp("slow"), Volume(np.full(shape, 40, np.int16), Grid.upright(shape, (4.0, 4.0, 4.0))))


def offline(place: Path, model: str, output: Path) -> tuple[bytes, dict]:
    """Mask and record of the command line, with as many threads as a replica has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(["predict", str(place), "--model", model, "--output", str(output)]) == 0
    finally:
        torch.set_num_threads(threads)
    [mask], [record] = (output / "masks").iterdir(), (output / "cases").iterdir()
    return mask.read_bytes(), json.loads(record.read_text())


def test_a_nifti_is_answered_as_offline(ct: CtApp, model: str, tmp_path: Path) -> None:
    sent = ct.send(nifti(tmp_path))
    assert sent.status == 202 and sent.json["state"] in ("queued", "running") and sent.headers["Location"] == sent.json["links"]["self"]
    assert sent.headers["Location"] == f"/ct/v1/jobs/{sent.json['id']}"
    done = ct.until(sent.json["id"], "done")
    mask, record = offline(tmp_path / "scan.nii.gz", model, tmp_path / "out")
    assert ct.ask(f"/v1/jobs/{done['id']}/result?format=nifti").body == mask
    assert {key: value for key, value in done["result"].items() if key not in ONLY_IN_JOBS} == {
        key: value for key, value in record.items() if key not in ("case", "source", "model")
    }
    assert done["model"] == done["result"]["model"] == MODEL | {"digest": record["model"]["digest"]}
    assert done["tiles"]["done"] == done["tiles"]["of"] > 0 and done["ahead"] is None
    assert sent.json["id"] not in ct.left()


@pytest.mark.parametrize("way", ["zip", "form"])
def test_a_series_is_answered_in_every_format(ct: CtApp, model: str, tmp_path: Path, way: str) -> None:
    files = contents(series(tmp_path / "dicom", number=7))
    body, kind = form(files) if way == "form" else (zipped(files), "application/zip")
    done = ct.until(ct.send(body, kind).json["id"], "done")
    at = done["links"]["self"].removeprefix("/ct")
    mask, record = offline(tmp_path / "dicom", model, tmp_path / "out")
    assert ct.ask(f"{at}/result", accept="application/gzip").body == mask
    told = ct.ask(f"{at}/result")
    assert told.headers.get_content_type() == "application/json" and told.json["series_uid"] == record["series_uid"]
    assert told.json["volume_ml"] == record["volume_ml"] and told.json["seg_refused"] is None
    seg = ct.ask(f"{at}/result?format=seg")
    assert seg.headers.get_content_type() == "application/dicom"
    read = highdicom.seg.segread(io.BytesIO(seg.body))
    assert read.SegmentSequence[0].SegmentLabel == "Infiltrate"
    picture = ct.ask(f"{at}/result", accept="image/png")
    assert cv2.imdecode(np.frombuffer(picture.body, np.uint8), cv2.IMREAD_COLOR) is not None
    with zipfile.ZipFile(io.BytesIO(ct.ask(f"{at}/result?format=zip").body)) as archive:
        assert archive.read("mask.nii.gz") == mask and archive.read("segmentation.dcm") == seg.body
        assert json.loads(archive.read("result.json")) == told.json and archive.read("slices.png") == picture.body
    assert set(done["links"]) == {"self", "json", "nifti", "seg", "png", "zip"}


def test_a_nifti_has_no_dicom_result(ct: CtApp, tmp_path: Path) -> None:
    done = ct.until(ct.send(nifti(tmp_path)).json["id"], "done")
    assert "seg" not in done["links"]
    answer = ct.ask(f"/v1/jobs/{done['id']}/result?format=seg")
    assert answer.status == 406 and "no DICOM SEG: a NIfTI file" in answer.json["error"]["message"]


def test_the_same_upload_is_the_same_job_of_the_same_caller(ct: CtApp, tmp_path: Path) -> None:
    files = contents(series(tmp_path / "dicom", number=8))
    first = ct.send(zipped(files)).json["id"]
    assert ct.send(*form(files[::-1])).json["id"] == first
    ct.until(first, "done")
    again = ct.send(zipped(files))
    assert again.status == 200 and again.json["id"] == first and again.json["result"]
    assert ct.send(zipped(files), query="?series=repair").json["id"] != first
    assert ct.send(zipped(files), token=OTHER).json["id"] != first


def test_nobody_else_sees_a_job(ct: CtApp, tmp_path: Path) -> None:
    job = ct.send(nifti(tmp_path)).json["id"]
    for path, method in ((f"/v1/jobs/{job}", "GET"), (f"/v1/jobs/{job}", "DELETE"), (f"/v1/jobs/{job}/result", "GET")):
        assert ct.ask(path, method=method, token=OTHER).status == 404
        assert ct.ask(path, method=method, token=None).status == 401
    assert ct.ask("/v1/jobs/../../etc/passwd").status == 404
    assert ct.until(job, "done")


def test_a_small_volume_is_answered_at_once_where_that_is_preferred(ct: CtApp, tmp_path: Path, slow: bytes) -> None:
    scan = Volume(SCAN.values[:30], Grid((30, 40, 60), SCAN.grid.affine))
    answer = ct.send(nifti(tmp_path, scan), prefer="respond-async, wait=60")
    assert answer.status == 200 and answer.json["state"] == "done" and answer.json["result"]["shape"] == [30, 40, 60]
    assert answer.headers["Preference-Applied"] == "wait"
    larger = ct.send(slow, prefer="wait")
    assert larger.status == 202
    assert ct.ask(f"/v1/jobs/{larger.json['id']}", method="DELETE").status == 204


def test_what_is_no_volume_is_refused_and_leaves_nothing(ct: CtApp, tmp_path: Path) -> None:
    before = ct.left()
    for what, (body, said) in refused(tmp_path).items():
        answer = ct.send(body)
        assert answer.status == 422 and said in answer.json["error"]["message"], (what, answer.body)
        assert b"Smith" not in answer.body and str(ct.folder).encode() not in answer.body
    assert ct.left() == before


def test_a_truncated_nifti_fails_in_words_and_leaves_nothing(ct: CtApp, tmp_path: Path) -> None:
    job = ct.until(ct.send(nifti(tmp_path)[:-500]).json["id"], "failed")
    assert job["error"].startswith("upload: truncated or damaged NIfTI") and job["result"] is None
    answer = ct.ask(f"/v1/jobs/{job['id']}/result")
    assert answer.status == 422 and answer.json["error"]["message"] == job["error"]
    assert ct.send(nifti(tmp_path)[:-501], prefer="wait").status == 422
    assert job["id"] not in ct.left()


def test_cancelling_ends_the_work_between_tiles(ct: CtApp, slow: bytes) -> None:
    job = ct.send(slow).json["id"]
    ct.until(job, "running", tiles=1)
    assert ct.ask(f"/v1/jobs/{job}/result").status == 409
    assert ct.ask(f"/v1/jobs/{job}", method="DELETE").status == 204
    assert ct.job(job)["state"] == "cancelled"
    assert ct.ask(f"/v1/jobs/{job}/result").status == 410
    deadline = time.monotonic() + 60
    while job in ct.left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert job not in ct.left()
    assert ct.ask(f"/v1/jobs/{job}", method="DELETE").status == 204
    assert ct.ask(f"/v1/jobs/{job}").status == 404


def test_a_deleted_result_is_gone(ct: CtApp, tmp_path: Path) -> None:
    done = ct.until(ct.send(*form(contents(series(tmp_path / "dicom", number=9)))).json["id"], "done")
    assert list((ct.folder / "results").glob(f"{done['id']}.*"))
    assert ct.ask(f"/v1/jobs/{done['id']}", method="DELETE").status == 204
    assert ct.ask(f"/v1/jobs/{done['id']}").status == 404
    assert not list((ct.folder / "results").glob(f"{done['id']}.*"))


def test_a_killed_replicas_job_is_done_by_another(ct: CtApp, model: str, slow: bytes, tmp_path: Path) -> None:
    job = ct.send(slow).json["id"]
    ct.until(job, "running", tiles=1)
    before = set(replicas_of("VolumeSegmenter"))
    assert len(before) == 2
    for replica in before:
        kill(replica)
    done = ct.until(job, "done")
    (tmp_path / "slow.nii.gz").write_bytes(slow)
    assert ct.ask(f"/v1/jobs/{job}/result?format=nifti").body == offline(tmp_path / "slow.nii.gz", model, tmp_path / "out")[0]
    assert done["result"]["model"] == done["model"]


def test_models_and_readiness(ct: CtApp) -> None:
    told = ct.ask("/v1/models").json
    assert told["champion"]["name"] == "tiny-ct" and told["refused"] == {} and told["device"] == "cpu"
    assert ct.ask("/readyz", token=None).json == {"status": "ready"}
    assert ct.ask("/healthz", token=None).status == 200


def test_every_route_asks_for_a_token(ct: CtApp) -> None:
    paths = ct.ask("/openapi.json").json["paths"]
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result", "/v1/models"} <= set(paths)
    for path, methods in paths.items():
        for method in methods:
            assert ct.ask(path.format(job_id="0" * 32), method=method.upper(), token=None).status == 401
