"""How the endpoints serve: one record for each app, read from `args:` in serve.yaml or from `key=value` of `serve run`."""

# Records are frozen, so a subclass may narrow a field; pyright does not see that through pydantic's metaclass.
# pyright: reportIncompatibleVariableOverride=false

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from chestseg.config.location import a_path
from chestseg.config.strict import Strict

Folder = Annotated[str, AfterValidator(a_path)]


class Compute(Strict):
    """What a model's replica runs on, and how."""

    device: str = "auto"
    """`auto` (the GPU if the replica has one, else the CPU), `cpu`, `cuda`."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False
    """torch.compile the network: a version's first batches, before it serves, take minutes; later ones take less."""
    gpu: float = Field(default=0.0, ge=0)
    """GPUs Ray sets aside for a replica; 0.25 puts four on one."""
    cpus: float = Field(default=1.0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    """PyTorch threads of a replica; what Ray gives, `cpus` rounded up, when null."""


class Replicas(Strict):
    """How many there are, by the number of requests being served or waiting."""

    min: int = Field(default=1, ge=0)
    """0 gives everything back when idle; the next request waits for a start."""
    max: int = Field(default=1, ge=1)
    ongoing: float = Field(default=8.0, gt=0)
    """Requests for each replica that are aimed at."""
    up_s: float = Field(default=5.0, ge=0)
    """Seconds the load must be higher before a replica is added."""
    idle_s: float = Field(default=300.0, ge=0)
    """Seconds the load must be lower before one goes."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Candidate(Strict):
    """What becomes of requests while the registry has a candidate beside the champion."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Of requests, chosen by their content: equal files meet the same model."""
    mode: Literal["shadow", "split"] = "shadow"
    """`shadow`: the champion answers, the candidate computes afterwards, disagreement is logged. `split`: the candidate answers."""
    alias: str = "candidate"


class Limits(Strict):
    """What is refused, and when waiting ends."""

    body_mb: float = Field(default=64.0, gt=0)
    """Megabytes (10^6 bytes) of a request's body; longer ones are answered 413 while they are still coming."""
    seconds: float = Field(default=60.0, gt=0)
    """From a request's first byte to its answer's, else 504."""
    queued: int = Field(default=64, ge=1)
    """Requests that may wait for a replica; further ones are answered 429."""
    retry_after_s: int = Field(default=1, ge=1)
    """Told with 429."""


class Serving(Strict):
    """Of both endpoints. `key=value` on the command line may be dotted: `limits.seconds=10`."""

    model: str
    """A bundle's folder, or `models:/NAME@champion` (watched), `models:/NAME/3` (fixed)."""
    tracking_uri: str | None = None
    """MLflow's; MLFLOW_TRACKING_URI or `config.Tracking`'s default when null."""
    watch_s: float = Field(default=30.0, gt=0)
    """Seconds between looks at the alias."""
    cache: Folder | None = None
    """Folder where versions are kept once downloaded; the user's cache folder when null."""
    candidate: Candidate = Candidate()
    compute: Compute = Compute()
    replicas: Replicas = Replicas()
    """Of the model."""
    front: Replicas = Replicas(ongoing=32.0)
    """Of what answers HTTP, decodes files and writes results; at least 1."""
    front_cpus: float = Field(default=0.1, ge=0)
    """CPUs Ray sets aside for one of these; it uses more while it decodes."""
    limits: Limits = Limits()
    tokens: str | None = None
    """File of bearer tokens; CHESTSEG_TOKENS_FILE, or the tokens in CHESTSEG_TOKENS, when null. Without any, only loopback is answered."""

    @model_validator(mode="before")
    @classmethod
    def _undot(cls, tree: Any) -> Any:
        """`{"limits.seconds": "10"}` as Ray hands it over from the command line becomes `{"limits": {"seconds": "10"}}`."""
        if not isinstance(tree, dict):
            return tree
        whole = {key: value for key, value in tree.items() if "." not in key}
        for path, value in tree.items():
            if "." in path:
                group, _, key = path.partition(".")
                whole[group] = {**_mapping(whole.get(group), group), key: value}
        return whole

    @model_validator(mode="after")
    def _front_stays(self) -> Self:
        if self.front.min < 1:
            raise ValueError("front.min 0: somebody must listen, give 1 or more; replicas.min may be 0")
        return self


class Batch(Strict):
    """Requests that a network computes at once."""

    size: int = Field(default=8, ge=1)
    """At most; as many as wait when the network gets free, so a lone request waits for nobody."""
    ahead: int = Field(default=2, ge=1)
    """Batches a replica takes on before further requests wait outside, where another replica may get them."""


class CxrServing(Serving):
    """Of the endpoint for radiographs."""

    model: str = "models:/cxr-pneumothorax@champion"
    batch: Batch = Batch()


class CtLimits(Limits):
    """Of volumes."""

    body_mb: float = Field(default=2000.0, gt=0)
    seconds: float = Field(default=300.0, gt=0)
    """To take in an upload, or to answer a small volume at once; a job's own time is not limited by it."""
    slices: int = Field(default=2000, ge=1)
    members: int = Field(default=4000, ge=1)
    """Files of a zip or of a multipart series."""
    voxels: int = Field(default=300_000_000, ge=1)
    """Of one volume: 512x512x1144."""
    queued_voxels: int = Field(default=2_000_000_000, ge=1)
    """Of all jobs that wait: where another would be more it is answered 429, unless none waits."""
    retry_after_s: int = Field(default=30, ge=1)


class Jobs(Strict):
    """Where jobs are kept, and for how long."""

    store: str = "sqlite:///chestseg-jobs.db"
    """SQLAlchemy's URL of the records; PostgreSQL where replicas live on several nodes."""
    folder: Folder = "chestseg-jobs"
    """Uploads and results; on several nodes one that all of them share."""
    spare_gb: float = Field(default=1.0, ge=0)
    """Of that folder's disk, 10^9 bytes that uploads leave free for results: those that would not are answered 507."""
    keep_s: float = Field(default=86400.0, gt=0)
    """Seconds after its end when a job is deleted with all its files."""
    lease_s: float = Field(default=30.0, gt=0)
    """Seconds without a sign of life after which another replica takes a job over."""
    replica_voxels: int = Field(default=80_000_000, ge=1)
    """Voxels, waiting and at work, for each replica: about a volume of 512x512x300. There is never more than a replica a job."""
    poll_s: float = Field(default=0.5, gt=0)
    """Seconds between a replica's looks for work; a job that is sent meanwhile wakes one."""
    at_once_voxels: int = Field(default=0, ge=0)
    """Largest volume that is answered at once where the caller prefers to wait; 0 makes every volume a job."""


class CtServing(Serving):
    """Of the endpoint for volumes."""

    model: str = "models:/ct-covid-infiltrate@champion"
    limits: CtLimits = CtLimits()
    jobs: Jobs = Jobs()
    memory_gb: float = Field(default=4.0, gt=0)
    """Main memory of a replica."""
    series: Literal["strict", "repair"] = "strict"
    """What becomes of a DICOM series with gaps, duplicates or a tilted gantry."""


def _mapping(group: Any, name: str) -> dict[str, Any]:
    if group is None:
        return {}
    if not isinstance(group, dict):
        raise ValueError(f"{name} is a group of keys, found {group!r}")
    return group
