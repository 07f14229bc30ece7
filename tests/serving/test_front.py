"""What stands before all routes, without Serve: limits, errors as JSON, the clock, and what is written down."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from ray.serve.exceptions import BackPressureError

from chestseg.config.serving import CxrServing
from chestseg.serving.front import Refusal, caller_of, front, refusing
from chestseg.serving.logs import JsonLines
from chestseg.serving.metrics import Metrics
from chestseg.serving.tokens import FILE_VARIABLE, VARIABLE

SECRET = "Doe^Jane"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    for name in (VARIABLE, FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    settings = CxrServing.model_validate({"model": "none", "limits": {"seconds": 0.2, "body_mb": 0.001, "retry_after_s": 7}})
    app = front("title", "description", settings, Metrics("test"))

    @app.post("/bytes/{name}")
    async def count(name: str, request: Request) -> dict[str, Any]:
        return {"bytes": len(await request.body()), "caller": caller_of(request), "id": request.state.request_id}

    @app.get("/fails/{kind}")
    async def fail(kind: str, number: int = 0) -> None:
        match kind:
            case "slow":
                await asyncio.Event().wait()
            case "defect":
                raise ValueError(SECRET)
            case "busy":
                raise BackPressureError(4, 4)
            case "refused":
                raise Refusal(410, "gone for good", {"X-Why": "age"})
            case _:
                with refusing():
                    raise ValueError(f"{kind}:\nnot\ngood")

    return app


def ask(app: FastAPI, method: str, path: str, client: str = "127.0.0.1", **request: Any) -> httpx.Response:
    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as session:
            return await session.request(method, path, **request)

    return asyncio.run(asking())


def test_a_body_within_the_limit_passes(app: FastAPI) -> None:
    answer = ask(app, "POST", "/bytes/x", content=bytes(1000), headers={"X-Request-ID": "abc"})
    assert answer.json() == {"bytes": 1000, "caller": "local", "id": "abc"}
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_body_beyond_it_does_not_whether_or_not_it_says_so(app: FastAPI) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield bytes(100)

    for content in (bytes(1001), pieces()):
        answer = ask(app, "POST", "/bytes/x", content=content)
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        ("slow", 504, "no answer within 0.2 s"),
        ("defect", 500, "a defect of this service"),
        ("busy", 429, "all replicas are busy"),
        ("refused", 410, "gone for good"),
        ("file", 422, "file: not good"),
        ("x?number=y", 400, "query.number"),
    ],
)
def test_errors_are_json(app: FastAPI, kind: str, status: int, says: str) -> None:
    answer = ask(app, "GET", f"/fails/{kind}")
    assert answer.status_code == status
    error = answer.json()["error"]
    assert says in error["message"] and SECRET not in answer.text and error["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)


def test_others_are_refused_where_there_are_no_tokens_but_may_ask_for_its_health(app: FastAPI) -> None:
    assert ask(app, "POST", "/bytes/x", "10.0.0.1").status_code == 401
    assert ask(app, "POST", "/bytes/x", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401
    assert ask(app, "POST", "/bytes/x", headers={"Host": "rebound.example"}).status_code == 401
    assert ask(app, "GET", "/healthz", "10.0.0.1").json() == {"status": "ok"}


def test_logs_tell_of_requests_and_nothing_of_patients(app: FastAPI) -> None:
    lines: list[str] = []
    catch = logging.Handler()
    catch.emit = lambda record: lines.append(JsonLines().format(record))
    loggers = [logging.getLogger(f"chestseg.{name}") for name in ("access", "serving")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(catch)
        logger.setLevel(logging.INFO)
    try:
        ask(app, "POST", f"/bytes/{SECRET}?name={SECRET}", content=SECRET.encode())
        ask(app, "GET", "/fails/defect")
        ask(app, "GET", f"/{SECRET}")
        ask(app, "GET", "/healthz")
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(catch)
            logger.setLevel(level)
    told = [json.loads(line) for line in lines]
    assert SECRET not in "".join(lines)
    requests = [line for line in told if line["logger"] == "chestseg.access"]
    assert [(line["route"], line["status"]) for line in requests] == [("/bytes/{name}", 200), ("/fails/{kind}", 500), ("-", 404)]
    assert all({"request_id", "caller", "ms", "time", "level"} <= set(line) for line in requests)
    [defect] = [line for line in told if line["message"] == "defect: ValueError"]
    assert defect["request_id"] == requests[1]["request_id"] and any("test_front.py" in where for where in defect["where"])


def test_web_sockets_are_closed(app: FastAPI) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
