"""An evaluation as numbers with intervals, overall and by subgroup; and two models' differences on the same cases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.statistics import calibration, score_statistics, spread_statistics
from chestseg.evaluation.subgroups import CaseFacts, subgroups
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.intervals import CONFIDENCE, FEWEST_PATIENTS, RESAMPLES, Estimate, Statistic, intervals, paired

Evaluation = EvaluationResult | VolumeEvaluation
EVERYONE = "all"
OF_NO_MODEL = "all_empty"
"""The score that two models on the same cases have in common."""


@dataclass(frozen=True)
class GroupScores:
    """The scores of one group of cases, by name as in `Summary` and `VolumeSummary`.

    Of radiographs `auc`, `brier` and, of all cases together, `ece` too; of volumes the limits of agreement.
    """

    by: str
    """What cases are grouped by; `all` for all of them."""
    group: str
    cases: int
    patients: int
    positives: int
    scores: dict[str, Estimate]


@dataclass(frozen=True)
class ScoreTable:
    """An evaluation's scores with intervals: all cases first, then each subgroup."""

    compared: str
    """Where masks were compared, in words."""
    confidence: float
    resamples: int
    groups: tuple[GroupScores, ...]
    warnings: tuple[str, ...]

    @property
    def overall(self) -> GroupScores:
        """All cases together."""
        return self.groups[0]

    def content(self) -> dict[str, Any]:
        """As JSON can hold it: null where there is nothing, never 0 or NaN."""
        return asdict(self)


def summarise_groups(result: Evaluation, facts: CaseFacts, resamples: int = RESAMPLES, seed: int = 0) -> ScoreTable:
    """Scores with intervals over patients, of all cases and of each subgroup that the files tell of.

    Args:
        result: of either track.
        facts: of its cases, from `case_facts`.
        resamples: number of bootstrap samples.
        seed: of their draws.

    Raises:
        ValueError: a probability is not a number of 0..1.
    """

    def statistics(places: Sequence[int]) -> Mapping[str, Statistic]:
        rows = _rows_at(result, places)
        return score_statistics(rows) | spread_statistics(rows)

    table = _table(result, facts, statistics, resamples, seed)
    everyone = table.overall
    scores = everyone.scores | calibration(result.rows, everyone.patients)
    return replace(table, groups=(replace(everyone, scores=scores), *table.groups[1:]))


def compare_models(one: Evaluation, other: Evaluation, facts: CaseFacts, resamples: int = RESAMPLES, seed: int = 0) -> ScoreTable:
    """One model's scores less another's with paired intervals, grouped as `summarise_groups` does.

    Surfaces are compared over the cases where both models have a distance, so that difference is not the one of the two tables' means.

    Raises:
        ValueError: they were not evaluated on the same cases in the same way, or a probability is not a number of 0..1.
    """
    if [row.case_id for row in one.rows] != [row.case_id for row in other.rows]:
        raise ValueError(
            f"two evaluations of {len(one.rows)} and {len(other.rows)} cases that are not the same: evaluate both on one split"
        )
    if one.compared != other.compared:
        raise ValueError(f"two evaluations with {one.compared} and {other.compared}: evaluate both on one prepared dataset")

    def differences(places: Sequence[int]) -> Mapping[str, Statistic]:
        ours, theirs = (score_statistics(_rows_at(result, places)) for result in (one, other))
        return {name: paired(score, theirs[name]) for name, score in ours.items() if name != OF_NO_MODEL}

    return _table(one, facts, differences, resamples, seed)


def _table(
    result: Evaluation, facts: CaseFacts, statistics: Callable[[Sequence[int]], Mapping[str, Statistic]], resamples: int, seed: int
) -> ScoreTable:
    assert len(result.rows) == len(facts.patients), "facts are of other cases"
    groupings = {EVERYONE: {EVERYONE: np.ones(len(result.rows), bool)}} | subgroups(result.rows, facts)
    groups = []
    for by, members in groupings.items():
        for group, where in members.items():
            places = np.flatnonzero(where).tolist()
            patients = [facts.patients[place] for place in places]
            scores = intervals(statistics(places), patients, resamples, seed)
            positives = sum(result.rows[place].positive for place in places)
            groups.append(GroupScores(by, group, len(places), len(set(patients)), positives, scores))
    return ScoreTable(result.compared, CONFIDENCE, resamples, tuple(groups), tuple(_warnings(groups[0], facts)))


def _rows_at(result: Evaluation, places: Sequence[int]) -> Any:
    rows: Sequence[Any] = result.rows  # of either kind
    return [rows[place] for place in places]


def _warnings(overall: GroupScores, facts: CaseFacts) -> Iterator[str]:
    """What a reader of the whole table must know."""
    if overall.patients < FEWEST_PATIENTS:
        yield f"{overall.patients} patients: no intervals for fewer than {FEWEST_PATIENTS}"
    if facts.unnamed:
        yield f"{facts.unnamed} of {overall.cases} cases name no patient: each counts as one, and intervals may be too narrow"
    elif overall.cases == overall.patients:
        yield "each case has a patient id of its own: grouping by patient says nothing, unless every patient was imaged once"
    for name, count in (("positives", overall.positives), ("negatives", overall.cases - overall.positives)):
        if not count:
            yield f"no {name}: scores over them are missing"
