"""What both endpoints put before their routes: request ids, tokens, limits, errors as JSON, logs and metrics."""

import asyncio
import contextlib
import functools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chestseg import __version__
from chestseg.config.serving import Limits, Serving
from chestseg.files import NoSpace
from chestseg.serving.metrics import Metrics
from chestseg.serving.tokens import Denied, Tokens

OPEN = ("", "/", "/healthz", "/readyz")
"""Answered without a token, as is what lies below `STATIC`: the page and its files, and whether the app is up. The first leads to `/`."""
STATIC = "/static/"
REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
"""What is taken over from X-Request-ID. Serve's proxy gives every request one, and adds it to the answer."""
MEGABYTE = 1e6
CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 406: "not_acceptable",
    409: "conflict", 410: "gone", 413: "too_large", 415: "unsupported_type", 422: "unreadable", 429: "too_many_requests",
    500: "internal", 503: "unavailable", 504: "timeout", 507: "no_space",
}  # fmt: skip

access = logging.getLogger("chestseg.access")
logger = logging.getLogger("chestseg.serving")


class Refusal(Exception):
    """An answer other than the one asked for.

    Args:
        status: HTTP status.
        message: one line for the caller, with the remedy.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(examples=["unreadable"])
    message: str = Field(examples=["image: damaged image (image file is truncated): export or copy it again"])
    request_id: str = Field(examples=["0f8fad5b-d9cb-469f"])


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses=`: the errors it can answer, beside those every route can."""
    return {status: {"model": ErrorAnswer, "description": CODES[status].replace("_", " ")} for status in (401, *statuses, 429, 504)}


@contextlib.contextmanager
def refusing(status: int = 422) -> Iterator[None]:
    """Around what reads a caller's data: its ValueErrors are the caller's, and become a `Refusal`. Elsewhere they are defects of ours.

    That a disk is full is neither, and passes.
    """
    try:
        yield
    except NoSpace:
        raise
    except ValueError as error:
        raise Refusal(status, " ".join(str(error).split())) from error


def caller_of(request: Request) -> str:
    """The name of the token that the request came with."""
    return request.state.caller


def front(title: str, description: str, settings: Serving, metrics: Metrics) -> FastAPI:
    """An app without routes of its own but `/healthz`; to be called in a replica.

    A route's `request.state` has `request_id` and `caller`, a token's name. Routes raise `Refusal`, or let `refusing` do it. Interactive
    documentation is off, as it would fetch its scripts from elsewhere; `/openapi.json` needs a token like any route.
    """
    app = _Guarded(title=title, description=description, version=__version__, docs_url=None, redoc_url=None)
    app.guard = functools.partial(Guard, tokens=Tokens(settings.tokens), limits=settings.limits, metrics=metrics)
    retry = {"Retry-After": str(settings.limits.retry_after_s)}

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return error_answer(request.scope, refusal.status, refusal.message, refusal.headers)

    @app.exception_handler(BackPressureError)
    async def busy(request: Request, error: BackPressureError) -> Response:
        return error_answer(request.scope, 429, "all replicas are busy: try again after the seconds in Retry-After", retry)

    @app.exception_handler(DeploymentUnavailableError)
    async def absent(request: Request, error: DeploymentUnavailableError) -> Response:
        return error_answer(request.scope, 503, "no replica of the model could be started: its log says why")

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        return error_answer(request.scope, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return error_answer(request.scope, 400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        # The kind of error and where, not its words, which may quote what was sent.
        logger.error("defect: %s", type(error).__name__, extra={"request_id": request.state.request_id, "where": _where(error)})
        return error_answer(request.scope, 500, "a defect of this service, told to its log under the request id")

    @app.get("/healthz", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


class _Guarded(FastAPI):
    """Its guard stands before everything else, Starlette's answer to defects included, which other middleware does not see."""

    guard: Callable[[ASGIApp], ASGIApp]

    def build_middleware_stack(self) -> ASGIApp:
        """As Starlette calls it, once."""
        return self.guard(super().build_middleware_stack())


def error_answer(scope: Scope, status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as JSON."""
    code = CODES.get(status, "error")
    body = {"error": {"code": code, "message": message, "request_id": scope["state"]["request_id"]}}
    return JSONResponse(body, status, dict(headers or {}))


class Guard:
    """ASGI middleware: who may, how much, how long, and what is written down about it."""

    def __init__(self, app: ASGIApp, tokens: Tokens, limits: Limits, metrics: Metrics) -> None:
        self.app, self.tokens, self.limits, self.metrics = app, tokens, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection are not taken."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1003, "reason": "this service has none"})
        headers, start, told = Headers(scope=scope), time.perf_counter(), _Told()
        shown = headers.get("x-request-id", "")
        state = scope.setdefault("state", {})
        state |= {"request_id": shown if REQUEST_ID.fullmatch(shown) else secrets.token_hex(16), "caller": "-"}
        noting = told.noting(send, None if shown else state["request_id"])
        try:
            refusal = self._refuse(scope, headers)
            if refusal:
                return await error_answer(scope, refusal.status, refusal.message, refusal.headers)(scope, receive, noting)
            await self._answer(scope, self._limited(receive), noting, told)
        finally:
            self._write_down(scope, told.status, time.perf_counter() - start)

    def _refuse(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Why the request is not even read."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            if path not in OPEN and not path.startswith(STATIC):
                client = scope["client"][0] if scope.get("client") else None
                scope["state"]["caller"] = self.tokens.check(headers.get("authorization"), client, headers).name
        except Denied as denied:
            return Refusal(denied.status, denied.message, _challenge(denied))
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.limits.body_mb * MEGABYTE:
            return self._too_large()
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send, told: "_Told") -> None:
        limit = asyncio.timeout(self.limits.seconds)
        try:
            # A defect was answered and written down by `broken`; passed on, its words would get into Serve's log.
            async with limit:
                with contextlib.suppress(Exception):
                    await self.app(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            if not told.status:
                answer = error_answer(scope, 504, f"no answer within {self.limits.seconds:g} s: try again later")
                await answer(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        """`receive` that stops with a `Refusal` when more has come than is allowed, whatever Content-Length said."""
        left = self.limits.body_mb * MEGABYTE

        async def counting() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise self._too_large()
            return message

        return counting

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self.limits.body_mb:g} MB", {"Connection": "close"})

    def _write_down(self, scope: Scope, status: int | None, seconds: float) -> None:
        """A route's pattern instead of the path: whatever a client wrote into that is not for logs."""
        route = getattr(scope.get("route"), "path", "-")
        code = status or 499
        self.metrics.request(route, code)
        if scope["path"].removeprefix(scope.get("root_path", "")) not in OPEN[2:]:
            fields = {"request_id": scope["state"]["request_id"], "caller": scope["state"]["caller"], "method": scope["method"]}
            access.info("request", extra=fields | {"route": route, "status": code, "ms": round(seconds * 1000, 1)})


class _Told:
    """What an answer has begun with."""

    def __init__(self) -> None:
        self.status: int | None = None

    def noting(self, send: Send, request_id: str | None) -> Send:
        """`send` that notes the status, and adds the request id where it came with none, and what browsers shall not do."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                headers = MutableHeaders(scope=message)
                if request_id:
                    headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return noting


def _challenge(denied: Denied) -> dict[str, str]:
    if denied.retry_after_s is not None:
        return {"Retry-After": str(denied.retry_after_s)}
    return {"WWW-Authenticate": "Bearer"}


def _where(error: BaseException) -> list[str]:
    """Frames of a traceback, innermost last, without the source lines or the message."""
    frames, trace = [], error.__traceback__
    while trace:
        frames.append(f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return frames[-8:]
