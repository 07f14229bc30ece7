"""What the CT endpoint answers, as its OpenAPI tells it."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from chestseg.serving.volume_job import Job, State

MODEL = {
    "name": "ct-covid-infiltrate",
    "version": "3",
    "run_id": "9f0e5b7d41c84b0a8a5d4f0b6c1e2d37",
    "digest": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
}
MODELS = {
    "champion": MODEL, "refused": {}, "registry_reachable": True, "device": "cuda", "precision": "bfloat16",
    "told": "2026-03-01T08:15:42+00:00",
}  # fmt: skip
JOB = "/ct/v1/jobs/9b2d5f0c2a9e4f8d8d0f5a4e1c7b3a60"
RESULT = {
    "shape": [300, 512, 512], "spacing_mm": [1.0, 0.75, 0.75], "probability": 0.98, "present": True, "volume_ml": 151.2, "lung_ml": 4320.0,
    "lung_share": 0.035, "lesions": 4, "seg_refused": "a NIfTI file has no DICOM images to refer to", "model": MODEL,
}  # fmt: skip


class Tiles(BaseModel):
    """How far the sliding window is; both 0 before it begins."""

    done: int = Field(examples=[12])
    of: int = Field(examples=[96])


class JobAnswer(BaseModel):
    """A job as its sender sees it."""

    id: str = Field(examples=["9b2d5f0c2a9e4f8d8d0f5a4e1c7b3a60"])
    state: State
    created: datetime
    finished: datetime | None
    expires: datetime = Field(description="It is deleted then, with all its files.")
    slices: int = Field(examples=[300])
    voxels: int = Field(examples=[78_643_200])
    ahead: int | None = Field(description="Jobs that are queued before it; null once it runs.", examples=[2])
    tiles: Tiles
    model: dict[str, str | None] | None = Field(description="The one version that works at it, or did.", examples=[MODEL])
    error: str | None = Field(description="Why it failed.", examples=["upload: truncated or damaged NIfTI: copy or export it again"])
    result: dict[str, Any] | None = Field(description="The numbers, once it is done.", examples=[RESULT])
    links: dict[str, str] = Field(
        description="Paths: of the job, and of its result in each format that it has.",
        examples=[{"self": JOB, "nifti": f"{JOB}/result?format=nifti"}],
    )


def answer_of(job: Job, ahead: int | None, result: dict[str, Any] | None, formats: list[str], root: str) -> JobAnswer:
    """Put an answer together; `root` is where the app lies, such as `/ct`."""
    own = f"{root}/v1/jobs/{job.id}"
    return JobAnswer(
        id=job.id,
        state=job.state,
        created=_time(job.created),
        finished=None if job.finished is None else _time(job.finished),
        expires=_time(job.expires),
        slices=job.slices,
        voxels=job.voxels,
        ahead=ahead,
        tiles=Tiles(done=job.tiles_done, of=job.tiles),
        model=job.model,
        error=job.refusal,
        result=result,
        links={"self": own} | {name: f"{own}/result?format={name}" for name in formats},
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
