"""The endpoint for radiographs: HTTP in front, files to images and findings to files; models are the segmenter's."""

import asyncio
import base64
import hashlib
import logging
from typing import Annotated, Any, Literal, TypeAlias, cast

import cv2
import numpy as np
from fastapi import FastAPI, Query, Request
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from starlette.responses import JSONResponse, Response

from chestseg.arrays.overlay import overlay
from chestseg.arrays.resize import resize_image
from chestseg.arrays.rle import decode_rle
from chestseg.config.serving import CxrServing, Replicas
from chestseg.dicom.radiograph import Radiograph, read_radiograph
from chestseg.dicom.segmentation import SegmentationModel, write_segmentation
from chestseg.serving.front import Refusal, errors, front, refusing
from chestseg.serving.logs import start_logs
from chestseg.serving.metrics import Metrics, Steps
from chestseg.serving.page.routes import add_page
from chestseg.serving.radiograph_answers import MODELS, Segmentation
from chestseg.serving.segmenter import APP, Asked, Found, OtherSize, Segmenter, actor_options, front_options
from chestseg.serving.uploads import wanted_format, whole_upload

Format: TypeAlias = Literal["json", "png", "overlay", "dicom"]
Wanted: TypeAlias = Annotated[Format | None, Query(alias="format", description="of the answer; wins over the header Accept")]
WithPicture: TypeAlias = Annotated[bool, Query(description="whether JSON brings the image as it was read, for viewers that read no DICOM")]
MEDIA: dict[Format, str] = {"json": "application/json", "png": "image/png", "overlay": "image/png", "dicom": "application/dicom"}
ATTEMPTS = 3
"""Replicas a request is tried on when one after the other dies under it."""
READY_WITHIN_S = 5.0
"""In which a replica of the model must answer for the app to be called ready."""
FIRST_GUESS = 512
LARGEST_DRAW = 2**64

logger = logging.getLogger("chestseg.serving")


class Radiographs:
    """The front: reads and writes files, asks the segmenter, retries on another replica when one dies."""

    def __init__(self, segmenter: DeploymentHandle, settings: CxrServing) -> None:
        start_logs(APP)
        self.segmenter, self.settings, self.metrics = segmenter, settings, Metrics(APP)
        self.size = FIRST_GUESS

    def __serve_build_asgi_app__(self) -> FastAPI:
        """For Serve, in the replica."""
        app = front("chestseg: radiographs", "Pneumothorax on chest radiographs. Research use only.", self.settings, self.metrics)
        body = {"required": True, "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in RAW} | MULTIPART}
        app.post(
            "/v1/segment",
            response_model=Segmentation,
            responses={200: {"content": {kind: {} for kind in sorted({*MEDIA.values()} - {"application/json"})}}}
            | errors(400, 406, 413, 415, 422),
            openapi_extra={"requestBody": body},
            summary="Segment one radiograph: DICOM, PNG or JPEG, as the body itself or as `file` of a form",
        )(self.segment)
        told = {200: {"content": {"application/json": {"example": MODELS}}}}
        app.get("/v1/models", responses=told | errors(503), summary="Versions that are served")(self.models)
        app.get("/readyz", include_in_schema=False)(self.ready)
        add_page(app, "cxr")
        return app

    async def segment(self, request: Request, wanted: Wanted = None, picture: WithPicture = False) -> Response:
        """One radiograph in, one answer out."""
        steps = Steps()
        wanted = wanted or wanted_format(request.headers.get("accept"), MEDIA)
        with steps.step("read"):
            data = await whole_upload(request)
        with steps.step("decode"), refusing(415 if not _is_known(data) else 422):
            radiograph, draw = await asyncio.to_thread(_decode, data, self.settings.candidate.share)
        found = await self._find(radiograph, draw, request.state.request_id, steps)
        content = b""
        if wanted != "json":
            with steps.step("encode"):
                content = await asyncio.to_thread(encode, wanted, data, radiograph, found)
        shown: dict[str, str] = {}
        if picture and wanted == "json":
            with steps.step("encode"):
                shown["picture"] = base64.b64encode(await asyncio.to_thread(_png, radiograph.pixels)).decode()
        steps.observe(self.metrics)
        told = {"Server-Timing": ", ".join(f"{name};dur={ms}" for name, ms in steps.milliseconds().items())}
        told |= {"X-Model": f"{found.model['name']}/{found.model['version'] or (found.model['digest'] or '')[:12]}"}
        if wanted != "json":
            return Response(content, media_type=MEDIA[wanted], headers=told)
        extra = {"timings_ms": steps.milliseconds(), "batch": found.batch, "request_id": request.state.request_id}
        return JSONResponse(found.record | {"rle": found.rle, "model": found.model} | extra | shown, headers=told)

    async def models(self) -> dict[str, Any]:
        """What one replica of the model serves."""
        return await self._ask("models")

    async def ready(self) -> dict[str, str]:
        """Whether a replica of the model answers; where they come only when wanted, whether this one does."""
        if self.settings.replicas.min:
            try:
                await asyncio.wait_for(self._ask("models"), READY_WITHIN_S)
            except TimeoutError:
                raise Refusal(503, "no replica of the model answers") from None
        return {"status": "ready"}

    async def _find(self, radiograph: Radiograph, draw: float, request_id: str, steps: Steps) -> Found:
        """Ask a replica at the size it served last; a version of another size says so, and is asked again at its own."""
        shape = (radiograph.pixels.shape[0], radiograph.pixels.shape[1])
        while True:
            with steps.step("preprocess"):
                image = await asyncio.to_thread(resize_image, radiograph.pixels, self.size)
            with steps.step("handover"):
                found = await self._ask("segment", Asked(image, shape, radiograph.spacing_mm, draw, request_id))
            if isinstance(found, Found):
                # What remains is the way there and back.
                steps.add("handover", -sum(found.seconds.values()))
                for name, seconds in found.seconds.items():
                    steps.add(name, seconds)
                return found
            assert isinstance(found, OtherSize), type(found)
            self.size = found.size

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """Call a replica, and another where it dies: what it was asked changes nothing, so it may be asked twice."""
        for attempt in range(ATTEMPTS):
            try:
                return await getattr(self.segmenter, method).remote(*arguments)
            except RayActorError:
                logger.warning("a replica died under a request", extra={"attempt": attempt + 1})
        raise Refusal(503, f"{ATTEMPTS} replicas died under this request, one after the other: try again later")


RAW = ("application/dicom", "image/png", "image/jpeg", "application/octet-stream")
MULTIPART = {
    "multipart/form-data": {
        "schema": {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
    }
}


def radiographs(settings: CxrServing) -> Application:
    """The application: the front bound to its segmenter, both as `settings` say."""
    limits, batch = settings.limits, settings.batch
    at_once = batch.size * batch.ahead
    queue = {
        "max_queued_requests": limits.queued,
        "backpressure_config": BackpressureConfig(status_code=429, retry_after_s=limits.retry_after_s),
        "graceful_shutdown_timeout_s": limits.seconds + 5,
        # Ours says who called and how long it took.
        "logging_config": LoggingConfig(enable_access_log=False),
    }
    segmenter = _deployment(Segmenter).options(
        ray_actor_options=actor_options(settings.compute),
        max_ongoing_requests=at_once,
        autoscaling_config=autoscaling(settings.replicas),
        **queue,
    )
    ingress = _deployment(serve.ingress()(Radiographs)).options(
        ray_actor_options=front_options(settings.front_cpus),
        # All that the models take on and all that may wait for them, and those that are still being read.
        max_ongoing_requests=at_once * settings.replicas.max + 2 * limits.queued,
        autoscaling_config=autoscaling(settings.front),
        **queue,
    )
    return ingress.bind(segmenter.bind(settings), settings)


def _deployment(kind: type) -> serve.Deployment:
    """Ray's decorator, whose annotations know functions only."""
    return cast(serve.Deployment, serve.deployment(kind))


def autoscaling(replicas: Replicas) -> AutoscalingConfig:
    """Serve's words for ours."""
    return AutoscalingConfig(
        min_replicas=replicas.min,
        max_replicas=replicas.max,
        target_ongoing_requests=replicas.ongoing,
        upscale_delay_s=replicas.up_s,
        downscale_delay_s=replicas.idle_s,
    )


def encode(wanted: Format, data: bytes, radiograph: Radiograph, found: Found) -> bytes:
    """The answer's bytes in a format that is a file.

    Raises:
        Refusal: a Segmentation was asked for, and the source can't be referred to.
    """
    mask = decode_rle([found.rle], radiograph.pixels.shape[:2])
    if wanted == "dicom":
        if radiograph.transfer_syntax is None:
            raise Refusal(422, "a DICOM Segmentation refers to a DICOM image, and this is none: ask for image/png or application/json")
        with refusing():
            named = SegmentationModel.of_bundle(str(found.model["name"]), str(found.model["digest"]))
            return write_segmentation(data, mask, "pneumothorax", named)
    return _png(mask * 255 if wanted == "png" else cv2.cvtColor(overlay(radiograph.pixels, mask), cv2.COLOR_RGB2BGR))


def _png(picture: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".png", picture)
    assert done, picture.shape
    return encoded.tobytes()


def _decode(data: bytes, share: float) -> tuple[Radiograph, float]:
    """The radiograph, and where its content stands between 0 and 1 when it is drawn who answers."""
    draw = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / LARGEST_DRAW if share else 1.0
    return read_radiograph(data, "image"), draw


def _is_known(data: bytes) -> bool:
    return data[128:132] == b"DICM" or data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))
