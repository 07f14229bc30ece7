"""What the CXR endpoint answers, as its OpenAPI tells it."""

from pydantic import BaseModel, ConfigDict, Field

MODEL = {
    "name": "cxr-pneumothorax",
    "version": "7",
    "run_id": "288f1469bb774a50a86a7ea03d183a77",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
MODELS = {
    "champion": MODEL | {"size": 512}, "candidate": MODEL | {"version": "8"}, "share": 0.1, "mode": "shadow", "refused": {},
    "registry_reachable": True, "device": "cuda", "precision": "bfloat16",
}  # fmt: skip
STEPS = {"read": 0.4, "decode": 9.1, "preprocess": 0.8, "handover": 2.1, "queue": 0.1, "model": 61.0, "postprocess": 3.2}


class ModelName(BaseModel):
    """Which version answered."""

    name: str
    version: str | None
    """Of the registry; null for a bundle that is in none."""
    run_id: str | None
    digest: str


class Segmentation(BaseModel):
    """What was found on one radiograph; for research use only."""

    model_config = ConfigDict(json_schema_extra={"description": "What was found on one radiograph; for research use only."})
    height: int = Field(examples=[1024])
    width: int = Field(examples=[1024])
    probability: float = Field(description="of disease, 0 to 1", examples=[0.913482])
    present: bool = Field(description="whether the mask holds a pixel", examples=[True])
    area_px: int = Field(examples=[180])
    area_cm2: float | None = Field(description="null where the file has no credible pixel spacing", examples=[0.22])
    rle: str = Field(
        description="gap and run length in turn, down the columns; -1 when empty (SIIM-ACR)", examples=["407576 60 964 60 964 60"]
    )
    model: ModelName = Field(examples=[MODEL])
    timings_ms: dict[str, float] = Field(examples=[STEPS])
    batch: int = Field(description="radiographs the network computed at once", examples=[3])
    request_id: str = Field(examples=["0f8fad5b-d9cb-469f"])
    picture: str | None = Field(
        default=None, description="PNG, 8-bit grey, in base64; only where it was asked for", examples=["iVBORw0KGgo="]
    )
