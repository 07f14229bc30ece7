"""The segmenter outside Serve: answers are the predictor's to the bit, and a candidate answers or computes in the shadow."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from chestseg.arrays.rle import encode_rle
from chestseg.bundle import load_bundle
from chestseg.config import Postprocessing
from chestseg.config.serving import Compute, CxrServing
from chestseg.inference.predictor import Predictor
from chestseg.serving.segmenter import Asked, Found, OtherSize, Segmenter, warm_predictor
from chestseg.tracking.environment import connect
from tests.inference.tiny import SIZE
from tests.servers import MlflowServer, mlflow_server
from tests.serving.counted import Counted
from tests.serving.registered import MODEL, REFERENCE, move, register
from tests.serving.served import tiny_bundle

SHAPE = (90, 70)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """With a champion, and a candidate that finds nothing."""
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder) as server:
        client: MlflowClient = connect(server.uri)
        champion = tiny_bundle(folder / "champion", 0, Postprocessing(threshold=0.01))
        candidate = tiny_bundle(folder / "candidate", 1, Postprocessing(threshold=0.5, min_area=10**7))
        move(client, register(champion, server.uri, folder / "run0"))
        register(candidate, server.uri, folder / "run1")
        yield server


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []
    catch = logging.Handler()
    catch.emit = records.append
    logger = logging.getLogger("chestseg.serving")
    logger.addHandler(catch)
    yield records
    logger.removeHandler(catch)


def asked(seed: int = 0, draw: float = 1.0, size: int = SIZE) -> Asked:
    image = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    return Asked(image, SHAPE, (4.0, 4.0), draw, f"request-{seed}")


def settings(model: str, **more: object) -> CxrServing:
    return CxrServing.model_validate({"model": model, "compute": {"device": "cpu"}, "batch": {"size": 3}, **more})


def test_answers_are_the_predictors(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    questions = [asked(seed) for seed in range(7)]

    async def ask() -> list[Found | OtherSize]:
        segmenter = Segmenter(settings(str(bundle.folder)))
        segmenter.check_health()
        answers = await asyncio.gather(*(segmenter.segment(question) for question in questions))
        assert await segmenter.segment(asked(size=96)) == OtherSize(SIZE)
        return list(answers)

    answers = asyncio.run(ask())
    predictor = Predictor(bundle, device="cpu")
    for question, answer in zip(questions, answers, strict=True):
        [expected] = predictor.predict([question.image], SHAPE, [90 * 70 * 16.0])
        assert isinstance(answer, Found) and answer.rle == encode_rle(expected.mask)
        assert answer.record["probability"] == round(expected.probability, 6)
        assert answer.record["area_cm2"] == pytest.approx(expected.area_px * 0.16)
    assert {answer.batch for answer in answers if isinstance(answer, Found)} & {2, 3}


def with_candidate(server: MlflowServer, cache: Path, mode: str) -> tuple[list[Found | OtherSize], dict[str, object]]:
    wanted = settings(REFERENCE, tracking_uri=server.uri, cache=str(cache), candidate={"share": 0.5, "mode": mode})

    async def ask() -> tuple[list[Found | OtherSize], dict[str, object]]:
        segmenter = Segmenter(wanted)
        answers = [await segmenter.segment(asked(draw=draw)) for draw in (0.1, 0.9)]
        await asyncio.gather(*segmenter._shadows)
        return answers, segmenter.models()

    return asyncio.run(ask())


def versions(answers: list[Found | OtherSize]) -> list[str | None]:
    return [answer.model["version"] for answer in answers if isinstance(answer, Found)]


def test_a_candidate_in_the_shadow_is_only_heard_in_the_log(server: MlflowServer, tmp_path: Path, logged: list[logging.LogRecord]) -> None:
    answers, told = with_candidate(server, tmp_path, "shadow")
    assert versions(answers) == ["1", "1"]
    [compared] = [record for record in logged if record.getMessage() == "champion and candidate"]
    assert compared.__dict__["present"] == [True, False] and compared.__dict__["dice"] == 0.0
    assert (compared.__dict__["champion"], compared.__dict__["candidate"], compared.__dict__["request_id"]) == ("1", "2", "request-0")
    assert isinstance(told["candidate"], dict) and told["candidate"]["version"] == "2"


def test_a_candidate_in_the_split_answers_its_share(server: MlflowServer, tmp_path: Path) -> None:
    answers, _ = with_candidate(server, tmp_path, "split")
    assert versions(answers) == ["2", "1"]
    assert [answer.record["present"] for answer in answers if isinstance(answer, Found)] == [False, True]


def test_a_candidate_that_is_withdrawn_answers_no_more(server: MlflowServer, tmp_path: Path) -> None:
    registry: MlflowClient = connect(server.uri)
    move(registry, "2", "tried")
    candidate = {"share": 1.0, "mode": "split", "alias": "tried"}
    wanted = settings(REFERENCE, tracking_uri=server.uri, cache=str(tmp_path), candidate=candidate)

    async def ask() -> list[Found | OtherSize]:
        segmenter = Segmenter(wanted)
        assert segmenter.candidate
        before = await segmenter.segment(asked(draw=0.1))
        registry.delete_registered_model_alias(MODEL, "tried")
        assert await asyncio.to_thread(segmenter.candidate.look)
        segmenter._show_versions()
        roles = [tags["role"] for _, _, tags in segmenter.metrics._held.values() if "role" in tags]
        assert segmenter.models()["candidate"] is None and roles == ["champion"]
        return [before, await segmenter.segment(asked(draw=0.1))]

    assert versions(asyncio.run(ask())) == ["2", "1"]


def test_what_a_candidate_in_the_shadow_is_not_asked_is_counted_and_logged(
    server: MlflowServer, tmp_path: Path, logged: list[logging.LogRecord]
) -> None:
    wanted = settings(
        REFERENCE, tracking_uri=server.uri, cache=str(tmp_path), candidate={"share": 1.0, "mode": "shadow"}, batch={"size": 1}
    )

    async def ask() -> list[str]:
        segmenter, metrics = Segmenter(wanted), Counted("test")
        segmenter.metrics = metrics
        assert segmenter.candidate and segmenter.candidate.served
        segmenter._shadows.add(asyncio.create_task(asyncio.sleep(0)))
        await segmenter.segment(asked(0, draw=0.1))
        segmenter._shadows.clear()
        larger: Any = SimpleNamespace(size=2 * SIZE)
        segmenter.candidate._current = replace(segmenter.candidate.served, predictor=larger)
        await segmenter.segment(asked(1, draw=0.1))
        assert not segmenter._shadows
        return metrics.whys

    assert asyncio.run(ask()) == ["busy", "size"]
    told = [record.__dict__ for record in logged if record.getMessage() == "candidate skipped"]
    assert [(one["request_id"], one["champion"], one["candidate"]) for one in told] == [("request-0", "1", "2"), ("request-1", "1", "2")]
    assert "another size" in told[1]["why"]


def test_every_answer_is_counted_with_its_version_and_no_shadow_is(server: MlflowServer, tmp_path: Path) -> None:
    wanted = settings(REFERENCE, tracking_uri=server.uri, cache=str(tmp_path), candidate={"share": 0.5, "mode": "shadow"})

    async def ask() -> list[tuple[str | None, bool]]:
        segmenter = Segmenter(wanted)
        segmenter.metrics = counts = Counted("test")
        for draw in (0.1, 0.9):
            await segmenter.segment(asked(draw=draw))
        await segmenter.segment(asked(size=96))
        await asyncio.gather(*segmenter._shadows)
        return counts.answers

    assert asyncio.run(ask()) == [("1", True), ("1", True)]


def test_bfloat16_answers_within_rounding(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    half = warm_predictor(bundle, Compute(device="cpu", precision="bf16"), 2)
    whole = Predictor(load_bundle(bundle.folder), device="cpu", precision="fp32")
    image = asked().image
    assert np.abs(half.probabilities([image])[0].mask - whole.probabilities([image])[0].mask).mean() < 0.02


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU; on a CPU compiling takes minutes")
def test_a_compiled_network_answers_the_same(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    compiled = warm_predictor(bundle, Compute(device="cuda", precision="fp32", compile=True), 2)
    whole = Predictor(bundle, device="cpu", precision="fp32")
    images = [asked(seed).image for seed in range(2)]
    for one, other in zip(compiled.probabilities(images), whole.probabilities(images), strict=True):
        np.testing.assert_allclose(one.mask, other.mask, atol=1e-3)
