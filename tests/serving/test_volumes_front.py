"""The front of volumes over HTTP without Serve: what it answers while its disk is full or its database away."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from chestseg.config.serving import CtServing
from chestseg.serving.volumes import Volumes
from tests.serving.ct_app import WARD, settings_for
from tests.serving.volumes_sent import nifti

SEGMENTER: Any = SimpleNamespace(wake=SimpleNamespace(remote=lambda: None))
JOB = f"/v1/jobs/{'0' * 32}"


def ask(settings: CtServing, *requests: tuple[str, str, bytes], away: bool = False) -> list[httpx.Response]:
    async def asking() -> list[httpx.Response]:
        front = Volumes(SEGMENTER, settings)
        if away:
            front.service.jobs.close()
            database = Path(settings.jobs.store.removeprefix("sqlite:///"))
            for path in database.parent.glob(f"{database.name}*"):
                path.unlink()
            database.mkdir()
        transport = httpx.ASGITransport(front.__serve_build_asgi_app__(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {WARD}"}) as http:
            return [await http.request(method, path, content=content) for method, path, content in requests]

    return asyncio.run(asking())


def test_a_database_that_is_away_is_told_with_when_to_come_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [("POST", "/v1/jobs"), ("GET", JOB), ("DELETE", JOB), ("GET", f"{JOB}/result"), ("GET", "/v1/models")]
    body, settings = nifti(tmp_path), settings_for("nowhere", tmp_path)
    answers = ask(settings, *((method, path, body) for method, path in paths), ("GET", "/readyz", b""), away=True)
    assert [answer.status_code for answer in answers] == [503] * 6
    for answer in answers[:-1]:
        assert answer.headers["Retry-After"] == "30" and answer.json()["error"]["code"] == "unavailable"
        assert "the database of jobs does not answer" in answer.json()["error"]["message"]
    assert "defect" not in caplog.text and "0" * 32 not in caplog.text


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    settings = settings_for("nowhere", tmp_path, jobs__spare_gb=1e9)
    [answer] = ask(settings, ("POST", "/v1/jobs", nifti(tmp_path)))
    assert answer.status_code == 507 and answer.json()["error"]["code"] == "no_space" and "no room" in answer.json()["error"]["message"]


def test_with_both_a_volume_is_taken_in(tmp_path: Path) -> None:
    [answer, told] = ask(settings_for("nowhere", tmp_path), ("POST", "/v1/jobs", nifti(tmp_path)), ("GET", "/openapi.json", b""))
    assert answer.status_code == 202 and {"503", "507"} <= set(told.json()["paths"]["/v1/jobs"]["post"]["responses"])
