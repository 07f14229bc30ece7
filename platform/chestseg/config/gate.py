"""The promotion gate's rule: what a candidate must show against the champion on the frozen test split."""

from typing import Annotated, Literal

from pydantic import Field

from chestseg.config.strict import Strict

Margin = Annotated[float, Field(ge=0)]
Metric = Literal[
    "mean_dice", "dice_positives", "sensitivity", "specificity", "auc", "brier", "iou_positives", "hd95_mm", "nsd",
    "absolute_volume_error_ml", "lesion_sensitivity", "false_lesions",
]  # fmt: skip
"""Scores with a better and a worse, as `docs/metrics.md` defines them; `auc` and `brier` are of radiographs, what follows of volumes."""
LOWER_IS_BETTER = frozenset({"brier", "hd95_mm", "absolute_volume_error_ml", "false_lesions"})


class Gate(Strict):
    """A candidate becomes champion when it is better in one metric and not worse in the others."""

    better: Metric = "mean_dice"
    """The metric to be better in."""
    by: float = Field(default=0.0, ge=0)
    """By more than this."""
    guarded: dict[Metric, Margin] = Field(default={"dice_positives": 0.05, "sensitivity": 0.05, "specificity": 0.05})
    """By metric, how much worse the candidate may be at most."""
    judged: Literal["interval", "value"] = "interval"
    """What must keep to these: the worse end of the difference's 95 % paired interval, or the difference itself, which chance moves."""
    resamples: int = Field(default=2000, ge=100)
    lock: str | None = None
    """What promotions to one model take turns by: the path of a file that all who promote share, or postgresql://HOST/DATABASE. When
    null: of a SQLite database the file beside it, of PostgreSQL itself, of a server a file in `storage`."""


class CtGate(Gate):
    """Of volumes: what is guarded are scores that differ from case to case.

    A dozen patients, all of them ill and all found by both models, leave sensitivity an interval of -0.265 to 0.265, and no candidate
    could keep to a margin of 0.05.
    """

    guarded: dict[Metric, Margin] = Field(default={"dice_positives": 0.05, "nsd": 0.05})
