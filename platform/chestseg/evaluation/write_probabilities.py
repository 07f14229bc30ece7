"""Keep a network's answers to a fold or the test split as cached probabilities; an interrupted writing goes on where it stopped."""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from chestseg.config import Postprocessing, VolumePostprocessing
from chestseg.data.prepared import PreparedDataset
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.evaluation.evaluate import shown_mm2
from chestseg.evaluation.levels import pack
from chestseg.evaluation.probabilities import MARKER, CachedCase, Origin, ProbabilityCache, TrainedNetwork, shard_path
from chestseg.evaluation.score import other_track
from chestseg.evaluation.volumes import require_window
from chestseg.files import exclusive, whole_file
from chestseg.inference.predictor import Predictor
from chestseg.inference.volume_predictor import VolumePredictor


def write_probabilities(
    folder: str | Path,
    predictor: Predictor | VolumePredictor,
    dataset: PreparedDataset,
    network: TrainedNetwork,
    split: Literal["train", "test"] = "train",
    fold: int | None = None,
    progress: bool = False,
) -> ProbabilityCache:
    """Keep a network's answers to a fold of the training split, or to the test split. What is there already is not computed again.

    Args:
        folder: the cache's own; what other networks left there gives way.
        predictor: the network, with the test-time augmentation that will be used.
        dataset: prepared at the network's size or spacing.
        network: what the predictor's network is.
        split: where the cases come from.
        fold: of the training split; the one the network did not see when None.
        progress: show a bar on standard error.

    Raises:
        ValueError: no case there, a dataset of the other track, size, spacing or window, or probabilities that are not finite.
    """
    chosen = -1 if split == "test" else network.held_out if fold is None else fold
    if not isinstance(chosen, int):
        raise ValueError(f"network {network.digest[:12]} held no fold back: train with a fold, or name one")
    indices = dataset.indices("test") if split == "test" else dataset.indices("train", fold=chosen)
    if not len(indices):
        raise ValueError(f"{dataset.folder}: no case in {'the test split' if split == 'test' else f'fold {chosen}'}: name another")
    answers = _answers(predictor, dataset)
    origin = Origin(
        network=network,
        dataset_hash=dataset.hash,
        split=split,
        fold=chosen,
        preprocessing=predictor.preprocessing,
        postprocessing=unchosen(predictor.postprocessing),
        cases=len(indices),
    )
    return write_cases(folder, origin, lambda places: answers([int(indices[place]) for place in places]), progress)


def write_cases(
    folder: str | Path, origin: Origin, answers: Callable[[Sequence[int]], list[CachedCase]], progress: bool = False
) -> ProbabilityCache:
    """Write the cache that `origin` tells of; `answers` gives the cases at the places asked for, a shard's at a time."""
    folder, key = Path(folder), origin.digest
    with exclusive(folder, "written"), tqdm(total=origin.cases, desc="probabilities", unit="case", disable=not progress) as bar:
        if _found(folder) != origin:
            (folder / MARKER).unlink(missing_ok=True)
        for number, places in enumerate(origin.shards):
            if not _is_whole(shard_path(folder, number), key):
                _write_shard(shard_path(folder, number), key, answers(places))
            bar.update(len(places))
        with whole_file(folder / MARKER) as temporary:
            temporary.write_text(origin.model_dump_json(indent=1) + "\n")
    return ProbabilityCache(folder, origin)


def unchosen(rule: Postprocessing | VolumePostprocessing) -> Postprocessing | VolumePostprocessing:
    """The part of a rule that shapes probabilities, all else at its defaults."""
    if isinstance(rule, Postprocessing):
        return Postprocessing(flip_tta=rule.flip_tta)
    return VolumePostprocessing(flip_tta=rule.flip_tta, lungs_only=rule.lungs_only, overlap=rule.overlap)


def _answers(predictor: Predictor | VolumePredictor, dataset: PreparedDataset) -> Callable[[Sequence[int]], list[CachedCase]]:
    match predictor, dataset:
        case Predictor(), PreparedRadiographs():
            return lambda indices: _radiographs(predictor, dataset, indices)
        case VolumePredictor(), PreparedVolumes():
            require_window(predictor, dataset)
            return lambda indices: [_volume(predictor, dataset, index) for index in indices]
    raise other_track(predictor, dataset)


def _radiographs(predictor: Predictor, dataset: PreparedRadiographs, indices: Sequence[int]) -> list[CachedCase]:
    cases = []
    for start in range(0, len(indices), predictor.batch):
        chosen = indices[start : start + predictor.batch]
        found = predictor.probabilities([dataset.image(index, predictor.size) for index in chosen])
        for index, answer, shown in zip(chosen, found, shown_mm2(dataset, chosen), strict=True):
            if answer.disease is not None and not 0 <= answer.disease <= 1:
                raise ValueError(f"the empty-mask head answers {answer.disease}: its training diverged; use an earlier bundle")
            packed = pack(answer.mask, dataset.mask(index, predictor.size))
            cases.append(CachedCase(dataset.case_ids[index], packed, answer.disease, shown))
    return cases


def _volume(predictor: VolumePredictor, dataset: PreparedVolumes, index: int) -> CachedCase:
    spacing = predictor.preprocessing.spacing
    found, truth = predictor.restricted(dataset.image(index, spacing)), dataset.mask(index, spacing)
    return CachedCase(dataset.case_ids[index], np.stack([pack(p, t) for p, t in zip(found, truth, strict=True)]))


def _write_shard(path: Path, key: str, cases: Sequence[CachedCase]) -> None:
    arrays = {
        "key": np.array(key),
        "case_ids": np.array([case.case_id for case in cases]),
        "maps": np.stack([case.packed for case in cases]),
        "disease": np.array([case.disease for case in cases], np.float64),
        "shown_mm2": np.array([case.shown_mm2 for case in cases], np.float64),
    }
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _is_whole(path: Path, key: str) -> bool:
    """Whether a shard of this origin is there; shards are written whole or not at all."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return str(stored["key"]) == key
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return False


def _found(folder: Path) -> Origin | None:
    try:
        return ProbabilityCache.open(folder).origin
    except ValueError:
        return None
