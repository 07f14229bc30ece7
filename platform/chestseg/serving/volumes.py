"""The endpoint for volumes: HTTP in front, jobs in a database, replicas that segment behind."""

import asyncio
import contextlib
import logging
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import sqlalchemy as sa
from fastapi import FastAPI, Query, Request
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, BackpressureConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response

from chestseg.config.serving import CtServing
from chestseg.serving.front import Refusal, caller_of, error_answer, errors, front
from chestseg.serving.jobs import AWAY, why_away
from chestseg.serving.logs import start_logs
from chestseg.serving.metrics import Metrics
from chestseg.serving.page.routes import add_page
from chestseg.serving.segmenter import actor_options, front_options
from chestseg.serving.uploads import wanted_format
from chestseg.serving.volume_answers import MODELS, JobAnswer
from chestseg.serving.volume_job import Job
from chestseg.serving.volume_results import FORMATS
from chestseg.serving.volume_segmenter import PATIENCE_S, TOLD_WITHIN_S, VolumeSegmenter, open_files, open_jobs
from chestseg.serving.volume_service import APP, VolumeService

Name: TypeAlias = Literal["json", "nifti", "seg", "png", "zip", "image"]
Wanted: TypeAlias = Annotated[Name | None, Query(alias="format", description="of the result; wins over the header Accept")]
Series: TypeAlias = Annotated[
    Literal["strict", "repair"] | None,
    Query(
        description="whether a DICOM series with gaps, duplicates or a tilted gantry is refused or repaired; the app's setting when absent"
    ),
]
MEDIA: dict[Name, str] = {"json": "application/json"} | {name: one.media_type for name, one in FORMATS.items()}  # type: ignore[assignment]
WAIT = re.compile(r"(?:^|[,;\s])wait(?:\s*=\s*\"?(\d{1,6})\"?)?(?=$|[,;\s])", re.IGNORECASE)
"""Of the header Prefer (RFC 7240 section 4.3); without a number it means as long as the app allows."""
ROUND_S = 60.0
"""Longest time between two rounds of housekeeping."""
ROUNDS = 4
"""In the time a job is kept."""
BINARY = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "content": {kind: {"schema": BINARY} for kind in ("application/gzip", "application/zip", "application/dicom")}
    | {"multipart/form-data": {"schema": {"type": "object", "properties": {"files": {"type": "array", "items": BINARY}}}}},
}

logger = logging.getLogger("chestseg.serving")


class Volumes:
    """The front: takes uploads in, tells of jobs, hands out results. It never decodes a voxel.

    Args:
        segmenter: woken when there is work.
        settings: the app's.
    """

    def __init__(self, segmenter: DeploymentHandle, settings: CtServing) -> None:
        start_logs(APP)
        self.segmenter, self.settings, self.metrics = segmenter, settings, Metrics(APP)
        self.service = VolumeService(settings, open_jobs(settings), open_files(settings), self._wake)
        self._loop = asyncio.get_running_loop()
        self._house = asyncio.create_task(self._keep_house())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """For Serve, in the replica."""
        app = front("chestseg: volumes", "COVID-19 infiltrates on chest CT. Research use only.", self.settings, self.metrics)
        kinds = {kind: {} for kind in sorted({*MEDIA.values()} - {"application/json"})}
        app.post(
            "/v1/jobs",
            status_code=202,
            response_model=JobAnswer,
            responses={200: {"model": JobAnswer, "description": "it has ended already"}} | errors(400, 413, 422, 503, 507),
            openapi_extra={"requestBody": BODY},
            summary="Segment a volume: NIfTI, a zip of a DICOM series, one enhanced DICOM file, or a series' files as a form",
        )(self.send)
        job = "/v1/jobs/{job_id}"
        app.get(job, response_model=JobAnswer, responses=errors(404, 503), summary="How a job stands")(self.tell)
        app.delete(job, status_code=204, responses=errors(404, 503), summary="Cancel a job, or delete one that has ended")(self.end)
        app.get(
            f"{job}/result",
            response_class=FileResponse,
            responses={200: {"content": kinds}} | errors(404, 406, 409, 410, 422, 503),
            summary="A finished job's result",
        )(self.result)
        told = {200: {"content": {"application/json": {"example": MODELS}}}}
        app.get("/v1/models", responses=told | errors(503), summary="Versions that are served")(self.models)
        app.get("/readyz", include_in_schema=False)(self.ready)
        for kind in AWAY:
            app.add_exception_handler(kind, self._without_database)
        add_page(app, "ct")
        return app

    async def send(self, request: Request, series: Series = None) -> Response:
        """A volume in, a job out; answered by its end where the caller prefers to wait and the volume is small."""
        try:
            job = await self.service.take_in(
                request.stream(), request.headers.get("content-type", ""), caller_of(request), series, _length(request)
            )
        except ClientDisconnect:
            raise Refusal(400, "the upload was broken off") from None
        wait = WAIT.search(request.headers.get("prefer", ""))
        headers = {}
        if wait:
            job = await self.service.ended(job, float(wait[1] or "inf"))
            headers["Preference-Applied"] = "wait"
            if job.state == "failed":
                raise Refusal(422, job.refusal or "the job failed")
        answer = await asyncio.to_thread(self.service.tell, job, _root(request))
        headers["Location"] = answer.links["self"]
        return JSONResponse(answer.model_dump(mode="json"), 202 if job.active else 200, headers)

    def tell(self, request: Request, job_id: str) -> JobAnswer:
        """One of the caller's jobs."""
        return self.service.tell(self._job(request, job_id), _root(request))

    def end(self, request: Request, job_id: str) -> Response:
        """The caller wants no more of it."""
        self.service.end(self._job(request, job_id))
        return Response(status_code=204)

    def result(self, request: Request, job_id: str, wanted: Wanted = None) -> FileResponse:
        """A result's file."""
        name = wanted or wanted_format(request.headers.get("accept"), MEDIA)
        path, file = self.service.result(self._job(request, job_id), name)
        return FileResponse(path, media_type=file.media_type, filename=file.name)

    def models(self) -> dict[str, Any]:
        """What a replica announced last, and when: a minute ago at most where one runs, or before it ended."""
        told = self.service.jobs.served(APP)
        if told is None:
            raise Refusal(503, "no replica has been started yet: send a volume, or set replicas.min to 1")
        return told

    def ready(self) -> dict[str, str]:
        """Whether jobs are taken, and are worked at: where replicas are to be there at all times, whether one lately told of itself."""
        try:
            told = self.service.jobs.served(APP, TOLD_WITHIN_S)
        except AWAY:
            raise Refusal(503, "no database of jobs") from None
        if told is None and self.settings.replicas.min:
            raise Refusal(503, f"no replica of the model has told of itself within {TOLD_WITHIN_S:g} s")
        return {"status": "ready"}

    def check_health(self) -> None:
        """For Serve: raises where housekeeping ended, and the replica is replaced."""
        if self._house.done() and not self._house.cancelled() and (error := self._house.exception()):
            raise error

    async def _without_database(self, request: Request, error: Exception) -> Response:
        """No defect of ours: the caller is to come again."""
        logger.warning("no database of jobs: %s", why_away(error), extra={"request_id": request.state.request_id})
        again = {"Retry-After": str(self.settings.limits.retry_after_s)}
        return error_answer(request.scope, 503, "the database of jobs does not answer: try again after the seconds in Retry-After", again)

    def _job(self, request: Request, job_id: str) -> Job:
        return self.service.find(job_id, caller_of(request))

    def _wake(self) -> None:
        """From any thread; nobody waits for it."""
        self._loop.call_soon_threadsafe(self.segmenter.wake.remote)

    async def _keep_house(self) -> None:
        while True:
            with contextlib.suppress(*AWAY):
                await asyncio.to_thread(self.service.keep_house)
            await asyncio.sleep(min(ROUND_S, self.settings.jobs.keep_s / ROUNDS))


def volumes(settings: CtServing) -> Application:
    """The application: the front bound to its segmenters, both as `settings` say.

    Raises:
        ValueError: settings that can't be kept.
    """
    settings = _settled(settings)
    limits, replicas, fronts = settings.limits, settings.replicas, settings.front
    segmenter = serve.deployment(
        ray_actor_options=actor_options(settings.compute),
        graceful_shutdown_timeout_s=PATIENCE_S + 15,
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            upscale_delay_s=replicas.up_s,
            downscale_delay_s=replicas.idle_s,
            policy=AutoscalingPolicy(policy_function="chestseg.serving.volume_scaling:wanted_replicas"),
        ),
    )(VolumeSegmenter)
    ingress = serve.deployment(
        ray_actor_options=front_options(settings.front_cpus),
        max_ongoing_requests=2 * limits.queued,
        max_queued_requests=limits.queued,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=limits.retry_after_s),
        graceful_shutdown_timeout_s=limits.seconds + 5,
        # Ours says who called and how long it took, and writes no ids down.
        logging_config=LoggingConfig(enable_access_log=False),
        autoscaling_config=AutoscalingConfig(
            min_replicas=fronts.min,
            max_replicas=fronts.max,
            target_ongoing_requests=fronts.ongoing,
            upscale_delay_s=fronts.up_s,
            downscale_delay_s=fronts.idle_s,
        ),
    )(serve.ingress()(Volumes))
    return ingress.bind(segmenter.bind(settings), settings)


def _settled(settings: CtServing) -> CtServing:
    """The settings with paths that mean the same in every process."""
    if settings.candidate.share:
        raise ValueError("candidate.share: volumes are segmented by the champion alone: leave it 0")
    store = sa.make_url(settings.jobs.store)
    if store.password:
        raise ValueError("jobs.store holds a password, which Serve's status would show: leave it out and set PGPASSWORD on every node")
    if store.get_backend_name() == "sqlite" and store.database:
        store = store.set(database=str(Path(store.database).absolute()))
    jobs = settings.jobs.model_copy(update={"store": str(store), "folder": str(Path(settings.jobs.folder).absolute())})
    return settings.model_copy(update={"jobs": jobs})


def _length(request: Request) -> int:
    """Bytes of the body as its sender tells them; 0 where it does not."""
    told = request.headers.get("content-length", "")
    return int(told) if told.isdecimal() and told.isascii() else 0


def _root(request: Request) -> str:
    return request.scope.get("root_path", "")
