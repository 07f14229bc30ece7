"""The gate's judgement: candidate and champion on the frozen test split, same cases, paired intervals, and the configured rule."""

from dataclasses import asdict, dataclass
from typing import Any

from chestseg.bundle import Bundle
from chestseg.config import Experiment, Gate
from chestseg.config.gate import LOWER_IS_BETTER
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.provable import beyond_proof
from chestseg.evaluation.score import score
from chestseg.evaluation.subgroups import CaseFacts, case_facts
from chestseg.evaluation.summary import Evaluation, GroupScores, compare_models
from chestseg.evaluation.words import NAMES, nothing_predicted, number
from chestseg.inference.golden import check_golden
from chestseg.inference.locate import open_bundle
from chestseg.inference.predictors import predictor_of
from chestseg.intervals import Estimate
from chestseg.tracking.promotion import SPLIT, Contender, Verdict
from chestseg.tracking.registry import BUNDLE_TAG


@dataclass(frozen=True)
class Check:
    """One line of the rule, and whether it holds."""

    metric: str
    against: str
    """The champion, or predicting nothing."""
    difference: Estimate
    """The candidate's score less the other's."""
    bound: float
    """Above which it must lie, with its sign turned where lower is better."""
    holds: bool
    words: str


class Judgement:
    """Loads, checks and scores what stands against each other; a `tracking.promotion.Judge`."""

    def __init__(self, experiment: Experiment, dataset: PreparedDataset, progress: bool = False) -> None:
        """Judge by `experiment.gate` on the test split of `dataset`.

        Raises:
            ValueError: there is no test split, or nothing in it that a model could find.
        """
        self.gate, self.track, self.uri = experiment.gate, experiment.track, experiment.tracking.uri
        self.dataset, self.progress = dataset, progress
        self.indices = dataset.indices(SPLIT)
        if not len(self.indices):
            raise ValueError(f"{dataset.folder} has no {SPLIT} split, which the gate compares on: prepare with data.test_share above 0")
        if not dataset.positive[self.indices].any():
            raise ValueError(f"{dataset.folder}: none of {len(self.indices)} cases of the {SPLIT} split is positive: prepare another split")
        patients = case_facts(dataset, [dataset.case_ids[index] for index in self.indices]).patients
        self.beyond_proof = beyond_proof(self.gate, dataset.positive[self.indices], patients)
        self._known: dict[str, Evaluation] = {}
        self._datasets: dict[str, str] = {}

    def __call__(self, candidate: Contender, champion: Contender | None) -> Verdict:
        """Whether the candidate deserves to be champion.

        Raises:
            ValueError: the rule names a metric that this track has not.
        """
        stays = f"version {candidate.version} stays candidate: "
        try:
            ours = self._scored(candidate)
            theirs = self._champion(champion) if champion else None
        except ValueError as error:
            return Verdict(False, stays + " ".join(str(error).split()))
        facts = case_facts(self.dataset, [row.case_id for row in ours.rows])
        checks = checked(self.gate, ours, theirs, facts)
        failed = [check.words for check in checks if not check.holds]
        if failed:
            return Verdict(False, stays + "; ".join(failed), self._evidence(ours, theirs, facts, checks))
        how = f"replaces version {champion.version}" if champion else "is the first champion"
        return Verdict(True, f"version {candidate.version} {how}: {checks[0].words}", self._evidence(ours, theirs, facts, checks))

    def _champion(self, champion: Contender) -> Evaluation:
        """One that learned from another dataset may have seen test cases, which is to the candidate's disadvantage only."""
        try:
            return self._scored(champion, of_dataset=False)
        except ValueError as error:
            raise ValueError(
                f"the champion, version {champion.version}, cannot be compared with (roll it back to go on): {error}"
            ) from None

    def _scored(self, contender: Contender, of_dataset: bool = True) -> Evaluation:
        """Raises ValueError where the bundle is not what was registered, or not of this track and, if asked for, dataset."""
        if contender.version not in self._known:
            bundle = open_bundle(contender.uri, self.uri)
            require_fit(bundle, contender, self.track, self.dataset.hash if of_dataset else bundle.spec.dataset_hash)
            self._datasets[contender.version] = bundle.spec.dataset_hash
            self._known[contender.version] = score(predictor_of(bundle), self.dataset, self.indices, self.progress)
        return self._known[contender.version]

    def _evidence(self, ours: Evaluation, theirs: Evaluation | None, facts: CaseFacts, checks: list[Check]) -> dict[str, Any]:
        differences = compare_models(ours, theirs or nothing_predicted(ours), facts, self.gate.resamples)
        return {
            "rule": self.gate.model_dump(mode="json", exclude={"lock"}),
            "split": SPLIT,
            "dataset_hash": self.dataset.hash,
            "trained_on": self._datasets,
            "checks": [asdict(check) for check in checks],
            "candidate_scores": asdict(ours.summary),
            "champion_scores": asdict(theirs.summary) if theirs else None,
            "differences_to": "champion" if theirs else "predicting nothing",
            "differences": differences.content(),
        }


def require_fit(bundle: Bundle, contender: Contender, track: str, dataset_hash: str) -> None:
    """Refuse a version whose bundle is not the registered one, of another track or dataset, or no longer answers as it did.

    Raises:
        ValueError: says what does not fit, and the remedy.
    """
    registered = contender.tags.get(BUNDLE_TAG)
    if registered != bundle.digest:
        raise ValueError(f"its bundle's SHA-256 is {bundle.digest[:12]}, registered was {(registered or 'none')[:12]}: register it again")
    if bundle.spec.track != track:
        raise ValueError(f"it is of track {bundle.spec.track}, the experiment's is {track}: name the model of this track")
    if bundle.spec.dataset_hash != dataset_hash:
        raise ValueError(
            f"it learned from dataset {bundle.spec.dataset_hash}, the {SPLIT} split is of {dataset_hash} and may hold cases it "
            "has seen: train it on this dataset"
        )
    check_golden(bundle)


def checked(gate: Gate, ours: Evaluation, theirs: Evaluation | None, facts: CaseFacts) -> list[Check]:
    """The rule line by line: better than the champion, worse in nothing that is guarded, and better than predicting nothing.

    Raises:
        ValueError: the rule names a metric that this track has not.
    """
    nothing = compare_models(ours, nothing_predicted(ours), facts, gate.resamples).overall
    floor = _check(gate, "mean_dice", nothing, 0.0, "predicting nothing")
    if theirs is None:
        return [floor]
    found = compare_models(ours, theirs, facts, gate.resamples).overall
    lines = [_check(gate, gate.better, found, gate.by, "the champion")]
    lines += [_check(gate, metric, found, -margin, "the champion", guarded=True) for metric, margin in gate.guarded.items()]
    return [*lines, floor]


def _check(gate: Gate, metric: str, found: GroupScores, bound: float, against: str, guarded: bool = False) -> Check:
    if metric not in found.scores:
        raise ValueError(
            f"gate: {metric} is no score of this track: give one of {', '.join(name for name in found.scores if name in NAMES)}"
        )
    estimate = found.scores[metric]
    said = f"{NAMES[metric]} {_signed(metric, estimate)} against {against}"
    if guarded and not estimate.patients:
        return Check(metric, against, estimate, bound, True, f"{said} is not judged: {estimate.note}")
    judged = _worst(metric, estimate) if gate.judged == "interval" else _turned(metric, estimate.value)
    if judged is None:
        return Check(metric, against, estimate, bound, False, f"{said} cannot be judged: {estimate.note}")
    limit = -bound if metric in LOWER_IS_BETTER else bound
    side = "below" if metric in LOWER_IS_BETTER else "above"
    sure, holds = "surely " if gate.judged == "interval" else "", judged > bound
    return Check(metric, against, estimate, bound, holds, said if holds else f"{said} is not {sure}{side} {number(metric, limit)}")


def _turned(metric: str, value: float | None) -> float | None:
    """A difference whose plus is better."""
    return value if value is None or metric not in LOWER_IS_BETTER else -value


def _worst(metric: str, estimate: Estimate) -> float | None:
    """The worse end of its interval, plus being better."""
    return _turned(metric, estimate.high if metric in LOWER_IS_BETTER else estimate.low)


def _signed(metric: str, estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    ends = "" if estimate.low is None or estimate.high is None else f" ({_plus(metric, estimate.low)} to {_plus(metric, estimate.high)})"
    return _plus(metric, estimate.value) + ends


def _plus(metric: str, value: float) -> str:
    text = number(metric, value)
    return text if text.startswith("-") else f"+{text}"
