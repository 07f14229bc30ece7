"""The CT endpoint on a started Serve: a volume in, a job out, the result that `chestseg predict` gives."""

import io
import json
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
from tests.serving.ct_app import OTHER, CtApp, kill, running, segmenters, settings_for, tiny_ct, wait_until
from tests.serving.mutants import check
from tests.serving.mutants import volumes as mutants
from tests.serving.served import ServePort
from tests.serving.volumes_sent import SCAN, contents, form, nifti, nothing_but_body, refused, series, zipped

pytestmark = pytest.mark.ray
MODEL = {"name": "tiny-ct", "version": None, "run_id": None}
ONLY_IN_JOBS = {"lesions", "seg_refused", "model"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_ct(tmp_path_factory.mktemp("model") / "bundle").folder)


@pytest.fixture(scope="module")
def ct(serve_port: ServePort, model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CtApp]:
    with running(serve_port, settings_for(model, tmp_path_factory.mktemp("ct"), replicas__min=2, replicas__max=2)) as app:
        yield app


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return nothing_but_body(tmp_path_factory.mktemp("slow"))


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
    assert (
        sent.status_code == 202
        and sent.json()["state"] in ("queued", "running")
        and sent.headers["Location"] == sent.json()["links"]["self"]
    )
    assert sent.headers["Location"] == f"/ct/v1/jobs/{sent.json()['id']}"
    done = ct.until(sent.json()["id"], "done")
    mask, record = offline(tmp_path / "scan.nii.gz", model, tmp_path / "out")
    assert ct.ask(f"/v1/jobs/{done['id']}/result?format=nifti").content == mask
    assert {key: value for key, value in done["result"].items() if key not in ONLY_IN_JOBS} == {
        key: value for key, value in record.items() if key not in ("case", "source", "model")
    }
    assert done["model"] == done["result"]["model"] == MODEL | {"digest": record["model"]["digest"]}
    assert done["tiles"]["done"] == done["tiles"]["of"] > 0 and done["ahead"] is None
    assert sent.json()["id"] not in ct.uploads()


@pytest.mark.parametrize("way", ["zip", "form"])
def test_a_series_is_answered_in_every_format(ct: CtApp, model: str, tmp_path: Path, way: str) -> None:
    files = contents(series(tmp_path / "dicom", number=7))
    body, kind = form(files) if way == "form" else (zipped(files), "application/zip")
    done = ct.done(ct.send(body, kind))
    at = done["links"]["self"].removeprefix("/ct")
    mask, record = offline(tmp_path / "dicom", model, tmp_path / "out")
    assert ct.ask(f"{at}/result", accept="application/gzip").content == mask
    told = ct.ask(f"{at}/result")
    assert told.headers["content-type"] == "application/json" and told.json()["series_uid"] == record["series_uid"]
    assert told.json()["volume_ml"] == record["volume_ml"] and told.json()["seg_refused"] is None
    seg = ct.ask(f"{at}/result?format=seg")
    assert seg.headers["content-type"] == "application/dicom"
    read = highdicom.seg.segread(io.BytesIO(seg.content))
    assert read.SegmentSequence[0].SegmentLabel == "Infiltrate"
    picture = ct.ask(f"{at}/result", accept="image/png")
    assert cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR) is not None
    with zipfile.ZipFile(io.BytesIO(ct.ask(f"{at}/result?format=zip").content)) as archive:
        assert archive.read("mask.nii.gz") == mask and archive.read("segmentation.dcm") == seg.content
        assert json.loads(archive.read("result.json")) == told.json() and archive.read("slices.png") == picture.content
    assert set(done["links"]) == {"self", "json", "nifti", "seg", "png", "zip", "image"}


def test_a_nifti_has_no_dicom_result(ct: CtApp, tmp_path: Path) -> None:
    done = ct.done(ct.send(nifti(tmp_path)))
    assert "seg" not in done["links"]
    answer = ct.ask(f"/v1/jobs/{done['id']}/result?format=seg")
    assert answer.status_code == 406 and "no DICOM SEG: a NIfTI file" in answer.json()["error"]["message"]


def test_the_same_upload_is_the_same_job_of_the_same_caller(ct: CtApp, tmp_path: Path) -> None:
    files = contents(series(tmp_path / "dicom", number=8))
    first = ct.send(zipped(files)).json()["id"]
    assert ct.send(*form(files[::-1])).json()["id"] == first
    ct.until(first, "done")
    again = ct.send(zipped(files))
    assert again.status_code == 200 and again.json()["id"] == first and again.json()["result"]
    assert ct.send(zipped(files), query="?series=repair").json()["id"] != first
    assert ct.send(zipped(files), token=OTHER).json()["id"] != first


def test_nobody_else_sees_a_job(ct: CtApp, tmp_path: Path) -> None:
    job = ct.send(nifti(tmp_path)).json()["id"]
    for path, method in ((f"/v1/jobs/{job}", "GET"), (f"/v1/jobs/{job}", "DELETE"), (f"/v1/jobs/{job}/result", "GET")):
        assert ct.ask(path, method=method, token=OTHER).status_code == 404
        assert ct.ask(path, method=method, token=None).status_code == 401
    assert ct.ask("/v1/jobs/../../etc/passwd").status_code == 404
    assert ct.until(job, "done")


def test_a_small_volume_is_answered_at_once_where_that_is_preferred(ct: CtApp, tmp_path: Path, slow: bytes) -> None:
    scan = Volume(SCAN.values[:30], Grid((30, 40, 60), SCAN.grid.affine))
    answer = ct.send(nifti(tmp_path, scan), prefer="respond-async, wait=60")
    assert answer.status_code == 200 and answer.json()["state"] == "done" and answer.json()["result"]["shape"] == [30, 40, 60]
    assert answer.headers["Preference-Applied"] == "wait"
    larger = ct.send(slow, prefer="wait")
    assert larger.status_code == 202
    assert ct.ask(f"/v1/jobs/{larger.json()['id']}", method="DELETE").status_code == 204


def test_what_is_no_volume_is_refused_and_leaves_nothing(ct: CtApp, tmp_path: Path) -> None:
    before = set(ct.uploads())
    for what, (body, said) in refused(tmp_path).items():
        answer = ct.send(body)
        assert answer.status_code == 422 and said in answer.json()["error"]["message"], (what, answer.content)
        assert b"Smith" not in answer.content and str(ct.folder).encode() not in answer.content
    assert set(ct.uploads()) <= before


def test_mutants_are_answered(ct: CtApp, tmp_path: Path) -> None:
    """`python -m benchmarks.serving_mutants` sends thousands."""
    files = contents(series(tmp_path / "dicom"))
    for mutant in mutants([nifti(tmp_path), nifti(tmp_path, name="scan.nii"), zipped(files)], files, 60):
        answer = ct.send(mutant.body, mutant.kind, prefer="wait")
        status, told = answer.status_code, answer.json()
        if status == 202:
            told = ct.until(told["id"], "done", "failed")
            status = 200 if told["state"] == "done" else 422
            told |= {"error": {"code": "failed", "message": told["error"], "request_id": told["id"]}}
        check(mutant, status, told)


def test_a_truncated_nifti_fails_in_words_and_leaves_nothing(ct: CtApp, tmp_path: Path) -> None:
    job = ct.until(ct.send(nifti(tmp_path)[:-500]).json()["id"], "failed")
    assert job["error"].startswith("upload: truncated or damaged NIfTI") and job["result"] is None
    answer = ct.ask(f"/v1/jobs/{job['id']}/result")
    assert answer.status_code == 422 and answer.json()["error"]["message"] == job["error"]
    assert ct.send(nifti(tmp_path)[:-501], prefer="wait").status_code == 422
    assert job["id"] not in ct.uploads()


def test_cancelling_ends_the_work_between_tiles(ct: CtApp, slow: bytes) -> None:
    job = ct.send(slow).json()["id"]
    ct.until(job, "running", tiles=1)
    assert ct.ask(f"/v1/jobs/{job}/result").status_code == 409
    assert ct.ask(f"/v1/jobs/{job}", method="DELETE").status_code == 204
    assert ct.job(job)["state"] == "cancelled"
    assert ct.ask(f"/v1/jobs/{job}/result").status_code == 410
    wait_until(lambda: job not in ct.uploads(), "the upload stays")
    assert ct.ask(f"/v1/jobs/{job}", method="DELETE").status_code == 204
    assert ct.ask(f"/v1/jobs/{job}").status_code == 404


def test_a_deleted_result_is_gone(ct: CtApp, tmp_path: Path) -> None:
    done = ct.done(ct.send(*form(contents(series(tmp_path / "dicom", number=9)))))
    assert any(name.startswith(done["id"]) for name in ct.results())
    assert ct.ask(f"/v1/jobs/{done['id']}", method="DELETE").status_code == 204
    assert ct.ask(f"/v1/jobs/{done['id']}").status_code == 404
    assert not any(name.startswith(done["id"]) for name in ct.results())


@pytest.mark.slow
def test_a_killed_replicas_job_is_done_by_another(ct: CtApp, model: str, slow: bytes, tmp_path: Path) -> None:
    job = ct.send(slow).json()["id"]
    ct.until(job, "running", tiles=1)
    for replica in segmenters(ct):
        kill(replica)
    done = ct.until(job, "done")
    (tmp_path / "slow.nii.gz").write_bytes(slow)
    assert ct.ask(f"/v1/jobs/{job}/result?format=nifti").content == offline(tmp_path / "slow.nii.gz", model, tmp_path / "out")[0]
    assert done["result"]["model"] == done["model"]


def test_models_and_readiness(ct: CtApp) -> None:
    told = ct.ask("/v1/models").json()
    assert told["champion"]["name"] == "tiny-ct" and told["refused"] == {} and told["device"] == "cpu"
    assert ct.ask("/readyz", token=None).json() == {"status": "ready"}
    assert ct.ask("/healthz", token=None).status_code == 200


def test_every_route_asks_for_a_token(ct: CtApp) -> None:
    paths = ct.ask("/openapi.json").json()["paths"]
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result", "/v1/models"} <= set(paths)
    for path, methods in paths.items():
        for method in methods:
            assert ct.ask(path.format(job_id="0" * 32), method=method.upper(), token=None).status_code == 401


@pytest.mark.slow
def test_jobs_outlive_the_app_and_a_segmenter_that_is_killed_with_it(
    serve_port: ServePort, model: str, slow: bytes, tmp_path: Path
) -> None:
    settings = settings_for(model, tmp_path)
    with running(serve_port, settings, "ct-again") as first:
        done = first.done(first.send(nifti(tmp_path)))
        mask = first.ask(f"/v1/jobs/{done['id']}/result?format=nifti").content
        begun = first.send(slow).json()["id"]
        first.until(begun, "running", tiles=1)
        for replica in segmenters(first):
            kill(replica)
    with running(serve_port, settings, "ct-again") as second:
        assert second.job(done["id"]) == done
        assert second.ask(f"/v1/jobs/{done['id']}/result?format=nifti").content == mask
        assert second.done(second.send(slow))["id"] == begun


@pytest.mark.slow
def test_a_job_starts_a_replica_where_there_is_none_and_expires(serve_port: ServePort, model: str, tmp_path: Path) -> None:
    scan = nifti(tmp_path)
    with running(serve_port, settings_for(model, tmp_path, replicas__min=0, replicas__idle_s=0, jobs__keep_s=10), "ct-idle") as ct:
        assert not segmenters(ct) and ct.ask("/readyz", token=None).status_code == 200
        assert ct.ask("/v1/models").status_code == 503
        done = ct.done(ct.send(scan))
        wait_until(lambda: not segmenters(ct), "the replica stays")
        wait_until(lambda: ct.ask(f"/v1/jobs/{done['id']}").status_code == 404, "the job stays")
        wait_until(lambda: not ct.results() and not ct.uploads(), "files stay")
