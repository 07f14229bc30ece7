"""What a test split can show of the gate's rule, known from its patients alone, before anything is scored."""

from collections.abc import Iterator, Sequence

import numpy as np

from chestseg.config import Gate
from chestseg.evaluation.words import NAMES
from chestseg.intervals import Estimate, intervals, mean_of, paired

ALIKE = ("sensitivity", "specificity")
"""Scores of yes or no a case, in which good models answer alike."""
OF_POSITIVES = ("dice_positives", "iou_positives", "sensitivity", "hd95_mm", "lesion_sensitivity", "auc")
OF_NEGATIVES = ("specificity", "auc")
"""Scores that need such patients."""


def beyond_proof(gate: Gate, positive: np.ndarray, patients: Sequence[str]) -> str | None:
    """Why no candidate, however good, can keep to the rule on this split; None where one can.

    A share of yes or no is compared as between two models without a mistake: no candidate does better against such a champion.

    Args:
        gate: the rule. One that judges by value asks for no proof.
        positive: (n,) bool, of the split's cases.
        patients: of the same cases.
    """
    if gate.judged == "value":
        return None
    found = {
        kind: intervals({kind: paired(right, right)}, patients)[kind]
        for kind, where in (("cases", positive | True), ("positives", positive), ("negatives", ~positive))
        for right in [mean_of(np.ones(len(positive)), where, kind)]
    }
    reasons = list(dict.fromkeys(_reasons(gate, found)))
    if not reasons:
        return None
    remedy = "guard scores that differ from case to case, such as dice_positives, widen the margin, or prepare a larger test split"
    return f"gate: this split cannot show what the rule asks: {'; '.join(reasons)}: {remedy}"


def _reasons(gate: Gate, found: dict[str, Estimate]) -> Iterator[str]:
    if (note := found["cases"].note) is not None:
        yield note
        return
    for metric, margin in {gate.better: None, **gate.guarded}.items():
        kinds = [kind for kind, known in (("positives", OF_POSITIVES), ("negatives", OF_NEGATIVES)) if metric in known]
        for alike in [found[kind] for kind in kinds if found[kind].patients]:  # a guarded score that nobody has is not judged
            if alike.note is not None:
                yield f"{NAMES[metric]}: {alike.note}"
            elif margin is not None and metric in ALIKE and alike.low is not None and alike.low <= -margin:
                yield (
                    f"{NAMES[metric]} of two models without a mistake in {alike.patients} patients differs by {alike.low:+.3f} to "
                    f"{alike.high:+.3f}, the margin is {margin:g}"
                )
