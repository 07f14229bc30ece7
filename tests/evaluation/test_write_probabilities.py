"""What a network says of a fold, kept once: equal to what it says again, resumed after a kill, renewed for another network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from chestseg.config import Postprocessing
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.evaluation.evaluate import evaluate
from chestseg.evaluation.levels import levels, truth
from chestseg.evaluation.probabilities import MARKER, CachedCase, ProbabilityCache, TrainedNetwork
from chestseg.evaluation.write_probabilities import write_cases, write_probabilities
from chestseg.inference.predictor import Predictor
from chestseg.inference.volume_predictor import VolumePredictor
from tests.evaluation.caches import Made, origin, random_case, write_made
from tests.evaluation.prepared import write_prepared
from tests.inference.tiny import SIZE, bright
from tests.inference.tiny_volume import band


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedRadiographs:
    found = write_prepared(tmp_path_factory.mktemp("prepared"))
    assert isinstance(found, PreparedRadiographs)
    return found


def network(dataset: PreparedRadiographs, held_out: int | str | None = 0) -> TrainedNetwork:
    return TrainedNetwork.model_validate({"digest": "abc", "dataset_hash": dataset.hash, "held_out": held_out})


def test_a_fold_as_the_network_sees_it(tmp_path: Path, dataset: PreparedRadiographs) -> None:
    predictor = Predictor(bright(Postprocessing(threshold=0.3, flip_tta=False), disease=0.25), batch=2)
    cache = write_probabilities(tmp_path, predictor, dataset, network(dataset, 1))
    assert [case.case_id for case in cache] == ["case-3", "case-4", "case-5"]
    found = predictor.probabilities([dataset.image(index, SIZE) for index in (3, 4, 5)])
    for index, answer, case in zip((3, 4, 5), found, cache, strict=True):
        np.testing.assert_array_equal(levels(case.packed) >= 50, answer.mask >= 0.5)
        np.testing.assert_array_equal(truth(case.packed), dataset.mask(index, SIZE))
        assert (case.disease, case.shown_mm2) == (answer.disease, None)
    assert (cache.origin.split, cache.origin.fold, cache.origin.cases) == ("train", 1, 3)
    assert cache.origin.postprocessing == Postprocessing(flip_tta=False)


def test_a_kept_cache_survives_another_threshold_and_computes_nothing(tmp_path: Path, dataset: PreparedRadiographs) -> None:
    first = write_probabilities(tmp_path, Predictor(bright()), dataset, network(dataset))
    diverged = bright(Postprocessing(threshold=0.7, min_area=600))
    with torch.no_grad():
        diverged.network.gain.fill_(torch.nan)  # type: ignore[operator]
    again = write_probabilities(tmp_path, Predictor(diverged), dataset, network(dataset))
    assert again.origin == first.origin
    with pytest.raises(ValueError, match="not finite"):
        write_probabilities(tmp_path / "new", Predictor(diverged), dataset, network(dataset))
    assert not (tmp_path / "new" / MARKER).exists()


def test_head_that_answers_nothing_is_refused(tmp_path: Path, dataset: PreparedRadiographs) -> None:
    with pytest.raises(ValueError, match="the empty-mask head answers nan: .*earlier bundle"):
        write_probabilities(tmp_path, Predictor(bright(disease=float("nan"))), dataset, network(dataset))


class KilledError(Exception):
    """Instead of a kill."""


def test_writing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    made = [random_case(seed) for seed in range(150)]
    asked: list[Sequence[int]] = []

    def answers(places: Sequence[int]) -> list[CachedCase]:
        if 64 in places and not asked:
            raise KilledError
        if 64 in places:
            asked.append(places)
        return [made[place].cached for place in places]

    with pytest.raises(KilledError):
        write_cases(tmp_path, origin(150), answers)
    with pytest.raises(ValueError, match="did not end"):
        ProbabilityCache.open(tmp_path)
    first = (tmp_path / "00000.npz").stat().st_mtime_ns
    write_made(tmp_path, made, origin(150))
    assert (tmp_path / "00000.npz").stat().st_mtime_ns == first
    assert [case.case_id for case in ProbabilityCache.open(tmp_path)] == [case.case_id for case in made]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".0")]


def test_another_network_takes_the_place_of_the_first(tmp_path: Path) -> None:
    def made(offset: int) -> list[Made]:
        return [random_case(seed + offset) for seed in range(3)]

    write_made(tmp_path, made(0), origin(3))
    cache = write_made(tmp_path, made(10), origin(3, fold=1))
    assert [case.case_id for case in ProbabilityCache.open(tmp_path)] == ["case-10", "case-11", "case-12"]
    assert ProbabilityCache.open(tmp_path).origin == cache.origin


def test_there_must_be_something_to_keep(tmp_path: Path, dataset: PreparedRadiographs) -> None:
    predictor = Predictor(bright())
    with pytest.raises(ValueError, match="no case in fold 7: name another"):
        write_probabilities(tmp_path, predictor, dataset, network(dataset, 7))
    for held_out in ("all", None):
        with pytest.raises(ValueError, match="network abc held no fold back"):
            write_probabilities(tmp_path, predictor, dataset, network(dataset, held_out))
    with pytest.raises(ValueError, match="holds radiographs, the model segments volumes"):
        write_probabilities(tmp_path, VolumePredictor(band()), dataset, network(dataset))
    with pytest.raises(ValueError, match=r"size 256 is larger .*prepare again"):
        write_probabilities(tmp_path, Predictor(bright(size=256)), dataset, network(dataset))


def test_evaluating_at_the_network_size_agrees(tmp_path: Path, dataset: PreparedRadiographs) -> None:
    from chestseg.evaluation.choose_radiographs import count

    rule = Postprocessing(threshold=0.3, min_area=600)
    counts = count([write_probabilities(tmp_path, Predictor(bright(rule)), dataset, network(dataset))])
    rows = evaluate(Predictor(bright(rule)), dataset, dataset.indices("train", fold=0), size=SIZE).rows
    assert counts.dice(rule).tolist() == [row.dice for row in rows]
