"""The deployment that holds the models of radiographs: images at the network's size in, findings at the source's size out."""

import asyncio
import functools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import ray
import torch

from chestseg.arrays.rle import encode_rle
from chestseg.bundle import Bundle
from chestseg.config.serving import Compute, CxrServing
from chestseg.inference.postprocess import image_mm2
from chestseg.inference.predictor import Prediction, Predictor, Probabilities
from chestseg.inference.write import describe
from chestseg.metrics import dice
from chestseg.models.allocator import ENVIRONMENT, GIVING_BACK
from chestseg.serving.batches import Batches
from chestseg.serving.logs import start_logs
from chestseg.serving.metrics import Metrics, Steps
from chestseg.serving.model_life import ModelLife, Served

APP = "cxr"
GOLDEN_MEAN = 0.02
"""Mean difference of probabilities to the golden case in which bfloat16, a GPU or a compiler may result; a fault gives far more."""

SKIPPED = {
    "size": "the candidate sees another size, and the source stayed in the front",
    "busy": "as many wait for the candidate as one batch takes",
}
"""Why a radiograph was not computed in the shadow."""

_Item: TypeAlias = tuple[Predictor, np.ndarray]

logger = logging.getLogger("chestseg.serving")


@dataclass(frozen=True)
class Asked:
    """One radiograph, resized by the front."""

    image: np.ndarray
    """uint8 (size, size), by `Preprocessing.resize`."""
    shape: tuple[int, int]
    """Rows and columns of the source."""
    spacing_mm: tuple[float, float] | None
    draw: float
    """0..1 by the file's content: below the candidate's share, the candidate is asked too or instead."""
    request_id: str


@dataclass(frozen=True)
class Found:
    """What one version says."""

    record: dict[str, Any]
    """As `inference.write.describe` has it."""
    rle: str
    model: dict[str, str | None]
    """As `Served.describe`."""
    seconds: dict[str, float]
    """By step."""
    batch: int


@dataclass(frozen=True)
class OtherSize:
    """The network sees another size: resize to this edge and ask again."""

    size: int


class Segmenter:
    """One replica: a champion, a candidate where wanted, and their lives.

    Ready, in Serve's eyes, when the champion is loaded, proved and warm.

    Args:
        settings: the app's.

    Raises:
        ValueError: no sound model.
    """

    def __init__(self, settings: CxrServing) -> None:
        start_logs(APP)
        # OpenMP counts for each thread of ours apart: for this one, where models warm up, and for the one that serves.
        begin = functools.partial(torch.set_num_threads, threads_of(settings.compute))
        begin()
        self.settings, self.metrics, self.ongoing = settings, Metrics(APP), 0
        self.champion = self._life(settings.model)
        self.champion.start()
        self.candidate = self._candidate()
        self._batches = Batches[_Item, Probabilities](_compute, settings.batch.size, self.metrics.batch, begin)
        self._shadows: set[asyncio.Task[None]] = set()
        self._show_versions()
        lives = [life for life in (self.champion, self.candidate) if life]
        self._watches = [asyncio.create_task(life.watch(settings.watch_s, self._show_versions)) for life in lives]

    async def segment(self, asked: Asked) -> Found | OtherSize:
        """What the version that is served now, and to the end of this call, finds."""
        served, other = self._versions(asked.draw)
        if asked.image.shape != (served.predictor.size,) * 2:
            return OtherSize(served.predictor.size)
        self._count(1)
        try:
            found, prediction = await self._ask(served, asked)
        finally:
            self._count(-1)
        self.metrics.answer(served.source.version, prediction.present)
        if other:
            self._begin_shadow(other, asked, found, prediction)
        return found

    def models(self) -> dict[str, Any]:
        """What this replica serves, what it refused and why, and whether the registry answered last."""
        candidate = self.candidate.served if self.candidate else None
        return {
            "champion": self.champion.current.describe() | {"size": self.champion.current.predictor.size},
            "candidate": candidate and candidate.describe(),
            "share": self.settings.candidate.share,
            "mode": self.settings.candidate.mode,
            "refused": self.champion.refused | (self.candidate.refused if self.candidate else {}),
            "registry_reachable": self.champion.reachable,
            "device": str(self.champion.current.predictor.device),
            "precision": str(self.champion.current.predictor.dtype).removeprefix("torch."),
        }

    def check_health(self) -> None:
        """For Serve: raises what ended a watch over an alias, and the replica is replaced."""
        for watch in self._watches:
            if watch.done() and not watch.cancelled() and (error := watch.exception()):
                raise error

    def _life(self, reference: str, *, withdrawable: bool = False) -> ModelLife[Predictor]:
        return ModelLife(reference, self.settings.tracking_uri, self._load, self.settings.cache, withdrawable=withdrawable)

    def _candidate(self) -> ModelLife[Predictor] | None:
        if not (self.settings.candidate.share and self.champion.watched):
            return None
        life = self._life(f"{self.settings.model.partition('@')[0]}@{self.settings.candidate.alias}", withdrawable=True)
        try:
            life.start()
        except ValueError as error:
            logger.warning("no candidate yet: %s", error)
        return life

    def _load(self, bundle: Bundle) -> Predictor:
        return warm_predictor(bundle, self.settings.compute, self.settings.batch.size)

    def _versions(self, draw: float) -> tuple[Served[Predictor], Served[Predictor] | None]:
        """Who answers, and who computes in the shadow."""
        champion, candidate = self.champion.current, self.candidate.served if self.candidate else None
        if candidate is None or draw >= self.settings.candidate.share or candidate.source.digest == champion.source.digest:
            return champion, None
        return (champion, candidate) if self.settings.candidate.mode == "shadow" else (candidate, None)

    async def _ask(self, served: Served[Predictor], asked: Asked) -> tuple[Found, Prediction]:
        computed = await self._batches((served.predictor, asked.image))
        steps = Steps()
        steps.add("queue", computed.waited_s)
        steps.add("model", computed.took_s)
        with steps.step("postprocess"):
            prediction, rle = await asyncio.to_thread(_finish, served.predictor, computed.answer, asked)
        record = describe(prediction, asked.spacing_mm)
        return Found(record, rle, served.describe(), steps.seconds, computed.batch), prediction

    def _begin_shadow(self, candidate: Served[Predictor], asked: Asked, champion: Found, prediction: Prediction) -> None:
        """Have the candidate compute, or write down why it does not: a comparison that lacks requests has to say so."""
        other_size = asked.image.shape != (candidate.predictor.size,) * 2
        if other_size or len(self._shadows) >= self.settings.batch.size:
            why = "size" if other_size else "busy"
            self.metrics.skipped(why)
            versions = {"champion": champion.model["version"], "candidate": candidate.source.version}
            logger.info("candidate skipped", extra={"request_id": asked.request_id, **versions, "why": SKIPPED[why]})
            return
        task = asyncio.create_task(self._shadow(candidate, asked, champion, prediction))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(self, candidate: Served[Predictor], asked: Asked, champion: Found, prediction: Prediction) -> None:
        """The candidate's answer beside the champion's, into the log."""
        found, other = await self._ask(candidate, asked)
        if other.present != prediction.present:
            self.metrics.disagreement()
        says = {
            "request_id": asked.request_id,
            "champion": champion.model["version"],
            "candidate": found.model["version"],
            "present": [prediction.present, other.present],
            "probability": [champion.record["probability"], found.record["probability"]],
            "dice": round(dice(prediction.mask, other.mask), 4),
        }
        logger.info("champion and candidate", extra=says)

    def _count(self, change: int) -> None:
        self.ongoing += change
        self.metrics.queue(self.ongoing)

    def _show_versions(self) -> None:
        self.metrics.version("champion", self.champion.current.source.version)
        if self.candidate is None:
            return
        if candidate := self.candidate.served:
            self.metrics.version("candidate", candidate.source.version)
        else:
            self.metrics.no_version("candidate")


def warm_predictor(bundle: Bundle, compute: Compute, batch: int) -> Predictor:
    """A predictor that has met every size of batch, as the hardware will run it, and its golden case.

    Raises:
        ValueError: the bundle is of volumes, does not fit the hardware, or answers its golden case otherwise there.
    """
    if bundle.spec.track != "cxr":
        raise ValueError(f"{bundle.folder}: a model of {bundle.spec.track}: this endpoint serves radiographs")
    predictor = Predictor(bundle, device=compute.device, precision=compute.precision, batch=batch)
    if compute.compile:
        predictor.network.compile()
    golden = bundle.golden()
    assert golden, "proved before"
    for size in range(batch, 1, -1):
        predictor.probabilities([golden.image] * size)
    difference = float(np.abs(predictor.probabilities([golden.image])[0].mask - golden.probabilities).mean())
    if not difference < GOLDEN_MEAN:
        raise ValueError(
            f"{bundle.folder}: on {predictor.device} in {predictor.dtype} the answer to its golden case is off by {difference:.3g} in the "
            f"mean, more than {GOLDEN_MEAN:g}: set compute.precision to fp32 and compute.compile to false"
        )
    return predictor


def threads_of(compute: Compute) -> int:
    """PyTorch's threads of a replica."""
    return compute.threads or max(1, math.ceil(compute.cpus))


def actor_options(compute: Compute) -> dict[str, Any]:
    """What Ray gives a replica of a model: its share of the hardware, and an environment that has it keep freed memory."""
    return {"num_cpus": compute.cpus, "num_gpus": compute.gpu, "runtime_env": _environment(ENVIRONMENT)}


def front_options(cpus: float) -> dict[str, Any]:
    """The same of what speaks HTTP, which gives freed memory back: it holds files, and never for long."""
    return {"num_cpus": cpus, "runtime_env": _environment(GIVING_BACK)}


def _environment(variables: Mapping[str, str]) -> dict[str, Any]:
    # A deployment's variables replace the driver's, so those are repeated; a YAML file's are added by Serve.
    told = ray.get_runtime_context().runtime_env.get("env_vars") if ray.is_initialized() else None
    return {"env_vars": {**variables, **(told or {})}}


def _compute(items: list[_Item]) -> list[Probabilities]:
    """A batch; while versions change, and with a candidate, it holds requests of two."""
    answers: list[Probabilities | None] = [None] * len(items)
    for predictor in {id(predictor): predictor for predictor, _ in items}.values():
        places = [place for place, (asked, _) in enumerate(items) if asked is predictor]
        for place, answer in zip(places, predictor.probabilities([items[place][1] for place in places]), strict=True):
            answers[place] = answer
    return [answer for answer in answers if answer]


def _finish(predictor: Predictor, answer: Probabilities, asked: Asked) -> tuple[Prediction, str]:
    prediction = predictor.finish(answer, asked.shape, image_mm2(asked.shape, asked.spacing_mm))
    return prediction, encode_rle(prediction.mask)
