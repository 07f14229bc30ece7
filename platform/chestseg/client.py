"""The client of the endpoints: files out, findings back. Standard library only, so that it runs wherever Python does."""

import contextlib
import http.client
import io
import ipaddress
import json
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

TIMEOUT_S = 600.0
PATIENCE_S = 300.0
LOOKS_S = (0.5, 1.0, 2.0, 5.0)
"""Between looks at a job; the last from then on."""
BUSY = (429, 503)
ACTIVE = ("queued", "running")

File = str | Path | bytes


class Refused(ValueError):
    """An answer other than the one asked for, or none.

    Args:
        message: one line, as the endpoint said it.
        status: of HTTP; None where nothing came back.
        request_id: which finds the request in the endpoint's log.
    """

    def __init__(self, message: str, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status, self.request_id = status, request_id


class Answer(NamedTuple):
    """What came back."""

    body: bytes
    headers: http.client.HTTPMessage

    def json(self) -> Any:
        """Its body, read as JSON."""
        return json.loads(self.body)


class Client:
    """One endpoint. May be used from several threads.

    Args:
        url: of the app, such as `https://chest.example/cxr`.
        token: shown with every request; None where the endpoint asks for none.
        timeout_s: seconds in which the endpoint must begin to answer, or go on answering.
        patience_s: seconds for which a request that is answered 429 or 503 is sent again, each time after the answer's Retry-After.

    Raises:
        ValueError: no http or https URL, or a token that would go unencrypted to another machine.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = TIMEOUT_S, patience_s: float = PATIENCE_S) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: give the app's address, such as https://chest.example/cxr")
        if token and parts.scheme == "http" and not _is_here(parts.hostname):
            raise ValueError(
                f"{url}: a token is not sent unencrypted to another machine: give an https address, or forward the port by ssh -L"
            )
        self.url, self.token, self.timeout_s, self.patience_s = url.rstrip("/"), token, timeout_s, patience_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def models(self) -> dict[str, Any]:
        """The versions that are served."""
        return self.ask("v1/models").json()

    def track(self) -> Literal["cxr", "ct"]:
        """Whether it segments radiographs or volumes.

        Raises:
            Refused: it does neither.
        """
        paths = self.ask("openapi.json").json().get("paths", {})
        if "/v1/segment" in paths:
            return "cxr"
        if "/v1/jobs" in paths:
            return "ct"
        raise Refused(f"{self.url}: no endpoint of chestseg: give the address of one of its apps, such as https://chest.example/cxr")

    def segment(self, image: File, wanted: Literal["json", "png", "overlay", "dicom"] = "json") -> Answer:
        """One radiograph, DICOM, PNG or JPEG, answered in the format `wanted`.

        Raises:
            Refused: the endpoint's reason, or that it can't be reached.
        """
        return self.ask(f"v1/segment?format={wanted}", "POST", image)

    def submit(self, volume: File, series: Literal["strict", "repair"] | None = None) -> dict[str, Any]:
        """A volume to segment: a NIfTI file, a zip of a DICOM series, an enhanced DICOM file or the folder of a series.

        Args:
            volume: a path, or a file's bytes.
            series: what becomes of a DICOM series with gaps and the like; the endpoint's setting when None.

        Returns:
            The job: `id`, `state`, `tiles`, `links` and more. The same volume sent again is the same job.

        Raises:
            Refused: the endpoint's reason, or that it can't be reached.
        """
        query = f"?series={series}" if series else ""
        with packed(volume) as file:
            return self.ask(f"v1/jobs{query}", "POST", file).json()

    def job(self, job_id: str) -> dict[str, Any]:
        """How a job stands."""
        return self.ask(f"v1/jobs/{job_id}").json()

    def wait(
        self, job_id: str, within_s: float | None = None, told: Callable[[dict[str, Any]], object] = lambda job: None
    ) -> dict[str, Any]:
        """A job once it is done.

        Args:
            job_id: `id` of the job.
            within_s: seconds it may take; any time when None.
            told: called with the job at each look.

        Raises:
            Refused: it failed, was cancelled, or isn't there.
            TimeoutError: it isn't done within that time; it goes on.
        """
        start, looks = time.monotonic(), 0
        while True:
            job = self.job(job_id)
            told(job)
            if job["state"] == "done":
                return job
            if job["state"] not in ACTIVE:
                raise Refused(job["error"] or f"the job was {job['state']}")
            if within_s is not None and time.monotonic() - start > within_s:
                raise TimeoutError(f"job {job_id} is {job['state']} after {within_s:g} s")
            time.sleep(LOOKS_S[min(looks, len(LOOKS_S) - 1)])
            looks += 1

    def result(self, job_id: str, wanted: Literal["json", "nifti", "seg", "png", "zip", "image"] = "json") -> Answer:
        """A finished job's result in one format."""
        return self.ask(f"v1/jobs/{job_id}/result?format={wanted}")

    def cancel(self, job_id: str) -> None:
        """Cancel a job, or delete one that has ended with all its files."""
        self.ask(f"v1/jobs/{job_id}", "DELETE")

    def ask(self, path: str, method: str = "GET", body: File | BinaryIO | None = None) -> Answer:
        """Any request of the endpoint; `path` is below the app's address.

        Raises:
            Refused: as it says, after the patience with 429 and 503 has ended.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                with _opened(body) as (content, length):
                    return self._once(path, method, content, length)
            except urllib.error.HTTPError as error:
                with error:
                    refused, wait = _refused(error), error.headers.get("Retry-After", "")
            except (OSError, http.client.HTTPException) as error:
                if getattr(error, "filename", None) is not None:  # the caller's file, not the endpoint
                    raise
                why = getattr(error, "reason", None) or error
                raise Refused(f"{self.url}: can't be reached, or broke off: {why or type(error).__name__}") from error
            if refused.status not in BUSY or not wait.isdigit() or time.monotonic() + int(wait) > deadline:
                raise refused
            time.sleep(int(wait))

    def _once(self, path: str, method: str, content: BinaryIO | None, length: int) -> Answer:
        headers = {"User-Agent": "chestseg-client"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if content is not None:
            headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        request = urllib.request.Request(f"{self.url}/{path}", content, headers, method=method)
        with self._opener.open(request, timeout=self.timeout_s) as answer:
            return Answer(answer.read(), answer.headers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leads nowhere: a token would be shown to whoever an answer names."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: str | Path) -> str:
    """A token from a file that holds nothing else.

    Raises:
        ValueError: it does not.
    """
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{path}: a file with a token holds that token and nothing else")
    return token


@contextlib.contextmanager
def packed(volume: File) -> Iterator[File | BinaryIO]:
    """What is sent of a volume: a file as it is, a folder's files as a zip without their names."""
    if isinstance(volume, bytes) or not os.path.isdir(volume):
        yield volume
        return
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            members = sorted(path for path in Path(volume).rglob("*") if path.is_file() and path.name != "DICOMDIR")
            for number, path in enumerate(members):
                with path.open("rb") as source, archive.open(f"{number:05}", "w", force_zip64=True) as member:
                    shutil.copyfileobj(source, member)
        yield file


@contextlib.contextmanager
def _opened(body: File | BinaryIO | None) -> Iterator[tuple[BinaryIO | None, int]]:
    """A body from its start, and its length."""
    if body is None:
        yield None, 0
    elif isinstance(body, bytes):
        yield io.BytesIO(body), len(body)
    elif isinstance(body, str | Path):
        with open(body, "rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    else:
        length = body.seek(0, os.SEEK_END)
        body.seek(0)
        yield body, length


def _refused(error: urllib.error.HTTPError) -> Refused:
    """The endpoint's own words, where the answer is one of its errors."""
    try:
        told = json.loads(error.read())["error"]
        return Refused(told["message"], error.code, told["request_id"])
    except (ValueError, KeyError, TypeError):
        return Refused(f"{error.url}: answered {error.code} {error.reason}", error.code)
