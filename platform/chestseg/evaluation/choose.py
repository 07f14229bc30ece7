"""Choose post-processing on held-out training cases, from their cached probabilities: no network runs, and no test case gets here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chestseg.config import Experiment, Objective, Postprocessing, VolumePostprocessing
from chestseg.data.prepared import PreparedDataset
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.evaluation.choose_radiographs import Candidates, count, rule_of, surface
from chestseg.evaluation.choose_surface import Surface, best
from chestseg.evaluation.choose_volumes import VolumeCandidates, count_volumes, volume_rule_of, volume_surface
from chestseg.evaluation.probabilities import Origin, ProbabilityCache
from chestseg.files import whole_file

SURFACE, SUMMARY = "surface.npz", "choice.json"


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen rule, and all it was chosen from."""

    rule: Postprocessing | VolumePostprocessing
    objective: Objective
    surface: Surface
    place: tuple[int, ...]
    """Of the rule on the surface."""
    ties: int
    """How many candidates score as high."""
    origins: tuple[Origin, ...]

    @property
    def at_edge(self) -> list[str]:
        """Axes whose first or last candidate was chosen, so that a better one may lie beyond; not where that is 0, which does nothing."""
        chosen = self.surface.candidate(self.place)
        return [name for name, values in self.surface.axes.items() if len(values) > 1 and chosen[name] in (values[0] or None, values[-1])]

    def save(self, folder: str | Path) -> None:
        """Write `surface.npz`, every candidate's scores, and `choice.json`, what was chosen, by what and from which cases."""
        self.surface.save(Path(folder, SURFACE))
        content = {
            "rule": self.rule.model_dump(),
            "objective": self.objective.model_dump(),
            "scores": self.surface.at(self.place),
            "all_empty": 1 - self.surface.positives / self.surface.cases,
            "cases": self.surface.cases,
            "positives": self.surface.positives,
            "candidates": {name: list(values) for name, values in self.surface.axes.items()},
            "at_edge": self.at_edge,
            "ties": self.ties,
            "from": [origin.model_dump() for origin in self.origins],
        }
        with whole_file(Path(folder, SUMMARY)) as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def choose(
    caches: Sequence[ProbabilityCache],
    objective: Objective | None = None,
    candidates: Candidates | VolumeCandidates | None = None,
    progress: bool = False,
) -> Choice:
    """The best rule over all cases of the caches together, each scored by a network that did not learn from it.

    Masks are compared at the network's size or spacing. Where several rules are equally good, the one in the middle of them is taken.

    Args:
        caches: one for each held-out fold.
        objective: `mean_dice` when None.
        candidates: of the track; its defaults when None.
        progress: show a bar on standard error.

    Raises:
        ValueError: anything but held-out training folds of one dataset seen in one way; no positives, radiographs without negatives;
            a damaged cache; candidates that are not hundredths or of the other track; a specificity no rule reaches.
    """
    objective = objective or Objective()
    require_held_out(caches)
    match caches[0].origin.postprocessing, candidates:
        case VolumePostprocessing() as made_with, None | VolumeCandidates():
            scores = volume_surface(count_volumes(caches, candidates or VolumeCandidates(), progress))
            place, ties = _best(scores, objective)
            rule = volume_rule_of(scores.candidate(place), made_with)
        case Postprocessing() as made_with, None | Candidates():
            counts = count(caches, progress)
            scores = surface(counts, candidates or Candidates())
            if scores.positives == scores.cases:
                raise ValueError(f"all {scores.cases} cases are positive: a minimum area cannot be chosen without negatives: add some")
            place, ties = _best(scores, objective)
            rule = rule_of(scores.candidate(place), counts, made_with)
        case _:
            raise ValueError(f"{type(candidates).__name__} for {caches[0].folder}: give candidates of the cache's track")
    return Choice(rule, objective, scores, place, ties, tuple(cache.origin for cache in caches))


def require_choosable(experiment: Experiment, dataset: PreparedDataset) -> None:
    """Refuse, before a training begins, to choose afterwards on a fold where nothing can be chosen.

    Raises:
        ValueError: names the fold, what it lacks and the remedy.
    """
    if experiment.choose is None:
        return
    assert isinstance(experiment.fold, int), "Experiment refuses `all`"
    positive = dataset.positive[dataset.indices("train", fold=experiment.fold)]
    needs_negatives = dataset.KIND == PreparedRadiographs.KIND or experiment.choose.least_specificity is not None
    lacks = "positive" if not positive.any() else "negative" if needs_negatives and positive.all() else None
    if lacks:
        raise ValueError(
            f"choose: fold {experiment.fold} has no {lacks} case to choose post-processing on: hold out another, or choose: null"
        )


def require_held_out(caches: Sequence[ProbabilityCache]) -> None:
    """Refuse what post-processing may not be chosen on.

    Raises:
        ValueError: names the cache, what is wrong with it and the remedy.
    """
    if not sum(len(cache) for cache in caches):
        raise ValueError("no cached probabilities to choose post-processing on: write those of a held-out fold")
    first = caches[0].origin
    folds: dict[int, Path] = {}
    for cache in caches:
        _require_held_out(cache)
        if (cache.origin.dataset_hash, cache.origin.preprocessing, cache.origin.postprocessing) != (
            first.dataset_hash, first.preprocessing, first.postprocessing,
        ):  # fmt: skip
            raise ValueError(
                f"{cache.folder} and {caches[0].folder} are of two datasets, or two ways to see one: give folds of one experiment"
            )
        if cache.origin.fold in folds:
            raise ValueError(f"{cache.folder} and {folds[cache.origin.fold]} both are fold {cache.origin.fold}: give each fold once")
        folds[cache.origin.fold] = cache.folder


def _require_held_out(cache: ProbabilityCache) -> None:
    origin, remedy = cache.origin, "post-processing is chosen on folds that were held out of training only: give such"
    if origin.split != "train" or origin.fold < 0:
        raise ValueError(f"{cache.folder}: probabilities of the {origin.split} split: {remedy}")
    if origin.network.held_out != origin.fold:
        held_out = {None: "is not known to have held any out", "all": "held none out"}.get(origin.network.held_out)
        said = held_out or f"held out fold {origin.network.held_out}"
        raise ValueError(f"{cache.folder}: probabilities of fold {origin.fold}, and the network {said}: {remedy}")
    if origin.network.dataset_hash != origin.dataset_hash:
        raise ValueError(
            f"{cache.folder}: of dataset {origin.dataset_hash}, the network learned from {origin.network.dataset_hash}, maybe from these "
            f"cases: {remedy}"
        )


def _best(scores: Surface, objective: Objective) -> tuple[tuple[int, ...], int]:
    if not scores.positives:
        raise ValueError(f"none of {scores.cases} cases is positive: leaving all empty would be best; give folds with positives")
    place, plateau = best(scores, objective)
    return place, int(np.count_nonzero(plateau))
